"""Our verdicts beside EvalPlus's own, program by program, on HumanEval+ and MBPP+.

    python perf/evalplus_agreement.py --data FOLDER --evalplus-python PYTHON [--set humaneval+ mbpp+] [--nulls 4]
        [--mutants 1] [--seed 0] [--out FILE.json]

FOLDER holds HumanEvalPlus.jsonl.gz and MbppPlus.jsonl.gz. PYTHON is the interpreter of an environment in which the
package evalplus is installed; it is given the same files by HUMANEVAL_OVERRIDE_PATH and MBPP_OVERRIDE_PATH, and judges
by ``untrusted_check`` on base and plus inputs, as ``evalplus.evaluate`` does. The programs: every reference, mutants of
it (one operator, comparison, number or returned type changed), and programs that solve nothing. Where the two differ,
EvalPlus judges once more with 30 s for each input instead of 1 s, since its limits are by the clock.
"""

import argparse
import ast
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENT_S = 30.0
FILES = {"humaneval+": "HumanEvalPlus.jsonl.gz", "mbpp+": "MbppPlus.jsonl.gz"}


class Mutate(ast.NodeTransformer):
    """Changes the ``target``-th place that can be changed; ``places`` counts them."""

    def __init__(self, target: int, rng: random.Random):
        self.target, self.rng, self.places = target, rng, 0

    def _here(self) -> bool:
        self.places += 1
        return self.places - 1 == self.target

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if self._here():
            node.op = self.rng.choice([ast.Add(), ast.Sub(), ast.Mult(), ast.FloorDiv(), ast.Mod()])
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        if self._here():
            node.ops[0] = self.rng.choice([ast.Lt(), ast.LtE(), ast.Gt(), ast.GtE(), ast.Eq(), ast.NotEq()])
        return node

    def visit_Constant(self, node):
        if isinstance(node.value, int | float) and self._here():
            return ast.copy_location(ast.Constant(node.value + self.rng.choice([-1, 1])), node)
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if node.value is not None and self._here():
            wrap = self.rng.choice(["list", "tuple", "str", "bool", "float", "sorted"])
            node.value = ast.Call(ast.Name(wrap, ast.Load()), [node.value], [])
        return node


def mutant(source: str, rng: random.Random) -> str:
    """The program with one place changed."""
    counter = Mutate(-1, rng)
    counter.visit(ast.parse(source))
    changed = Mutate(rng.randrange(max(1, counter.places)), rng).visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(changed))


def programs(problems, nulls: int, mutants: int, seed: int) -> list[dict]:
    """{task, kind, source}: what is judged by both."""
    from ra3.benchmarks.samples import null_programs

    rng, found = random.Random(seed), []
    for problem in problems:
        reference = problem.meta["references"][0]
        found.append({"task": problem.id, "kind": "reference", "source": reference})
        found += [{"task": problem.id, "kind": "mutant", "source": mutant(reference, rng)} for _ in range(mutants)]
        for value, source in rng.sample(sorted(null_programs(problem).items()), nulls):
            found.append({"task": problem.id, "kind": f"null {value}", "source": source})
    return found


def ours(name: str, path: Path, options) -> tuple[list[dict], list]:
    """The programs and our verdicts."""
    from ra3.benchmarks import load_benchmark
    from ra3.benchmarks.samples import standing_alone
    from ra3.grading.grade import grade
    from ra3.sandbox import Sandbox

    problems = load_benchmark(f"{name}:{path}").problems
    work = programs(problems, options.nulls, options.mutants, options.seed)
    bare = {problem.id: standing_alone(problem) for problem in problems}
    verdicts = []
    with Sandbox(options.workers) as sandbox:
        start = time.perf_counter()
        for at in range(0, len(work), 256):
            part = work[at : at + 256]
            verdicts += grade(sandbox, [(bare[item["task"]], item["source"]) for item in part])
            print(f"{name} ours {len(verdicts)}/{len(work)} {time.perf_counter() - start:.0f} s", flush=True)
    return work, verdicts


def theirs(name: str, work: str, out: str, least_s: str) -> None:
    """Runs in the other interpreter: EvalPlus's verdict on every program, one JSON line each."""
    from evalplus.data import get_human_eval_plus, get_mbpp_plus  # pyright: ignore[reportMissingImports]
    from evalplus.eval import untrusted_check  # pyright: ignore[reportMissingImports]
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS  # pyright: ignore[reportMissingImports]
    from evalplus.gen.util import trusted_exec  # pyright: ignore[reportMissingImports]

    dataset = {"humaneval+": "humaneval", "mbpp+": "mbpp"}[name]
    problems = get_human_eval_plus() if dataset == "humaneval" else get_mbpp_plus()
    answers, start = {}, time.perf_counter()
    with open(out, "w") as file:
        for number, item in enumerate(json.loads(Path(work).read_text())):
            task = problems[item["task"]]
            if item["task"] not in answers:
                code = task["prompt"] + task["canonical_solution"]
                not_none = dataset == "mbpp" and task["entry_point"] in MBPP_OUTPUT_NOT_NONE_TASKS
                answers = {item["task"]: [
                    (list(task[key]), *trusted_exec(code, task[key], task["entry_point"], True, not_none))
                    for key in ("base_input", "plus_input")
                ]}  # fmt: skip
            said = []
            for inputs, expected, times in answers[item["task"]]:
                stat, _ = untrusted_check(
                    dataset, item["source"], inputs, task["entry_point"], expected, task["atol"], times,
                    fast_check=True, min_time_limit=float(least_s),
                )  # fmt: skip
                said.append(stat)
                if stat != "pass":
                    break
            file.write(json.dumps(said) + "\n")
            file.flush()
            if number % 200 == 0:
                print(f"{name} theirs {number} {time.perf_counter() - start:.0f} s", flush=True)


def judged_by_evalplus(name: str, path: Path, work: list[dict], options, least_s: float = 1.0) -> list[str]:
    """Of every program, "pass", "fail" or "timeout"; ``least_s``: seconds for an input at least."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "work.json"), Path(folder, "out.jsonl")
        given.write_text(json.dumps(work))
        paths = {"HUMANEVAL_OVERRIDE_PATH": str(path), "MBPP_OVERRIDE_PATH": str(path)}
        command = [options.evalplus_python, __file__, "--theirs", name, str(given), str(out), str(least_s)]
        subprocess.run(command, check=True, env={**os.environ, **paths, "XDG_CACHE_HOME": folder})
        return [json.loads(line)[-1] for line in out.read_text().splitlines()]


def main() -> None:
    """Judges the sets by both and prints every disagreement."""
    if sys.argv[1:2] == ["--theirs"]:
        return theirs(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--evalplus-python", required=True)
    parser.add_argument("--set", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--nulls", type=int, default=4)
    parser.add_argument("--mutants", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    total, differing = 0, []
    for name in options.set:
        path = options.data / FILES[name]
        work, verdicts = ours(name, path, options)
        said = judged_by_evalplus(name, path, work, options)
        found = [
            {"set": name, **item, "ours": verdict.reason, "evalplus": other}
            for item, verdict, other in zip(work, verdicts, said, strict=True)
            if verdict.passed != (other == "pass")
        ]
        again = judged_by_evalplus(name, path, found, options, PATIENT_S)
        differing += [{**item, "patient": other} for item, other in zip(found, again, strict=True)]
        total += len(work)
        print(f"{name}: {len(work)} programs, we pass {sum(bool(v.passed) for v in verdicts)}")
    print(f"agreement {total - len(differing)} of {total}")
    for item in differing:
        print("  {set} {task} {kind}: ours {ours}, EvalPlus {evalplus}, given more time {patient}".format(**item))
    if options.out:
        options.out.write_text(json.dumps(differing, indent=1))


if __name__ == "__main__":
    main()
