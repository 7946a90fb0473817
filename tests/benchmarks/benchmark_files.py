"""Small benchmark files in each official format, written for the tests: rows, right answers and wrong ones."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import zlib
from pathlib import Path

from ra3.benchmarks import load_benchmark
from ra3.benchmarks.samples import standing_alone
from ra3.grading.problems import Problem


def write(path: Path, *rows: object) -> Path:
    """JSON lines, or JSON for .json, compressed for .gz."""
    plain = path.name.removesuffix(".gz").endswith(".json")
    text = json.dumps(list(rows)) if plain else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def loaded(tmp_path: Path, name: str, *rows: object, suffix: str = ".jsonl.gz") -> list[Problem]:
    """The problems of benchmark `name` from a file of these rows."""
    return load_benchmark(f"{name}:{write(tmp_path / f'rows{suffix}', *rows)}").problems


def packed(value: object) -> str:
    """Private tests as LiveCodeBench packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


HUMANEVAL = {
    "task_id": "HumanEval/0", "prompt": 'def twice(x):\n    """Twice x."""\n', "entry_point": "twice",
    "canonical_solution": "    return 2 * x\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 4, 'no'\n"
    "    assert candidate(-1) == -2\n",
}  # fmt: skip
HUMANEVAL_LOOP = {
    "task_id": "HumanEval/1", "entry_point": "root",
    "prompt": 'def square(x):\n    return x * x\n\n\ndef root(x):\n    """The square root."""\n',
    "canonical_solution": "    return x ** 0.5\n",
    "test": "def check(candidate):\n    for x in range(9):\n        assert abs(square(candidate(x)) - x) < 1e-6\n",
}  # fmt: skip
HUMANEVAL_PLUS = {
    "task_id": "HumanEval/0", "prompt": HUMANEVAL["prompt"], "entry_point": "twice", "contract": "",
    "canonical_solution": "    return 2 * x\n", "base_input": [[1], [2]], "plus_input": [[0.1], [-3]], "atol": 0,
}  # fmt: skip
MBPP_CALL = {
    "task_id": 11, "text": "Write a function to add two numbers.", "code": "def add(a, b):\r\n  return a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(2*3, -1) == 5"], "test_setup_code": "",
    "challenge_test_list": [],
}  # fmt: skip
MBPP_OBJECTS = {
    "task_id": 12, "text": "Write a function to sum a list of nodes.",
    "code": "class Node:\n  def __init__(self, v):\n    self.v = v\n    self.next = None\n"
    "def total(n):\n  return n.v + total(n.next) if n else 0",
    "test_list": ["assert total(first) == 3"], "test_setup_code": "first = Node(1)\nfirst.next = Node(2)",
    "challenge_test_list": [],
}  # fmt: skip
MBPP_PLUS = {
    "task_id": "Mbpp/2", "prompt": '"""\nShared elements.\n"""\n', "entry_point": "similar_elements", "atol": 0,
    "canonical_solution": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    "base_input": [[[3, 4, 5], [5, 4, 7]]], "plus_input": {}, "contract": "", "assertion": "",
}  # fmt: skip
LCB_STDIN = {
    "question_id": "abc_a", "question_content": "Print the sum.", "platform": "atcoder", "contest_date": "2024-01-01",
    "starter_code": "", "difficulty": "easy", "metadata": "{}",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": packed(json.dumps([{"input": "5 6", "output": "11", "testtype": "stdin"}])),
}  # fmt: skip
LCB_METHOD = {
    **LCB_STDIN, "question_id": "2001", "question_content": "Reverse a list.", "metadata": '{"func_name": "flip"}',
    "starter_code": "class Solution:\n    def flip(self, items: List[int]) -> List[int]:\n        ",
    "public_test_cases": json.dumps([{"input": "[1, 2]", "output": "[2, 1]", "testtype": "functional"}]),
    "private_test_cases": packed(json.dumps([{"input": "[3]", "output": "[3]", "testtype": "functional"}])),
}  # fmt: skip
CONTESTS = {
    "name": "1_A. Sum", "description": "Print the sum.", "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["4 5\n"], "output": ["9\n"]}, "generated_tests": {"input": [], "output": []},
    "time_limit": {"seconds": 1, "nanos": 500000000}, "memory_limit_bytes": 256000000,
    "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(sum(map(int, input().split())))"]},
}  # fmt: skip
REPACKAGED = {"problem": "Print the sum.", "tests": {"inputs": ["1 2\n", "4 5\n"], "outputs": ["3\n", "9\n"]}}
CHECKER = (
    "import sys\nout = open('solution_output.txt').read()\nwant = int(open('input.txt').read())\n"
    "a, b = map(int, out.split())\nprint(1 if a + b == want else 0)\n"
)
FORCES = {
    "id": "1/B", "title": "Split", "description": "Two numbers with this sum.", "input_format": "n", "note": None,
    "output_format": "Any two numbers.", "input_mode": "stdio", "time_limit": 1.0, "memory_limit": 256.0,
    "examples": [{"input": "3", "output": "1 2"}], "generated_checker": CHECKER,
    "official_tests": [{"input": "3\n", "output": "1 2\n"}, {"input": "8\n", "output": "4 4\n"}],
}  # fmt: skip
APPS = {
    "problem_id": 7, "question": "Length of a word.", "starter_code": "def size(word):\n", "solutions": "[]",
    "input_output": json.dumps({"fn_name": "size", "inputs": [["abc"], [""]], "outputs": [[3], [0]]}),
}  # fmt: skip

SUM = "```python\na, b = map(int, input().split())\nprint(a + b)\n```\n"
CASES = {
    "humaneval": ((HUMANEVAL, HUMANEVAL_LOOP), ("    return x + x\n", "    return x ** 0.5\n"),
                  ("    return 4\n", "    return 1.0\n")),
    "humaneval+": ((HUMANEVAL_PLUS,), ("    return x + x\n",), ("    return int(2 * x)\n",)),
    "mbpp": ((MBPP_CALL, MBPP_OBJECTS), (MBPP_CALL["code"], MBPP_OBJECTS["code"]),
             ("def add(a, b):\n  return 3", MBPP_OBJECTS["code"].replace("+ total", "- total"))),
    "mbpp+": ((MBPP_PLUS,), ("def similar_elements(a, b):\n    return [x for x in b if x in a]\n",),
              ("def similar_elements(a, b):\n    return a\n",)),
    "livecodebench": ((LCB_STDIN, LCB_METHOD),
                      (SUM, "```python\nclass Solution:\n    def flip(self, items: List[int]):\n"
                            "        return tuple(items[::-1])\n```"),
                      ("```\nprint(3)\n```",
                       "```\nclass Solution:\n    def flip(self, items):\n        return items\n```")),
    "codecontests": ((CONTESTS, REPACKAGED), (SUM, SUM), ("```\nprint(3)\n```", "no code at all")),
    "codeforces": ((FORCES,), ("```py\nprint(0, input())\n```",), ("```py\nprint(1, 2)\n```",)),
    "apps": ((APPS,), ("```python\ndef size(word):\n    return len(word)\n```",),
             ("```\ndef size(word): return 3\n```",)),
}  # fmt: skip
"""By benchmark: its rows, a right answer to each, a wrong answer to each."""


def gives(value: str) -> str:
    """A function that returns this."""
    return f"def f(x):\n    return {value}\n"


def row_of(table: str, expected: str, script: bool) -> tuple[str, dict]:
    """The benchmark and a row of it with one test: f(1), or a script with the input 1, gives what is expected."""
    match table:
        case "HumanEval":
            test = f"def check(candidate):\n    assert candidate(1) == {expected}\n"
            return "humaneval", {**HUMANEVAL, "prompt": "def f(x):\n", "entry_point": "f", "test": test}
        case "MBPP":
            return "mbpp", {**MBPP_CALL, "code": gives(expected), "test_list": [f"assert f(1) == {expected}"]}
        case "HumanEval+ and MBPP+":
            own = {"prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": f"    return {expected}\n"}
            return "humaneval+", {**HUMANEVAL_PLUS, **own, "base_input": [[1]], "plus_input": []}
        case "LiveCodeBench":
            test = [{"input": "1", "output": expected, "testtype": "stdin" if script else "functional"}]
            own = {"metadata": "{}" if script else '{"func_name": "f"}', "private_test_cases": "[]"}
            return "livecodebench", {**LCB_STDIN, "public_test_cases": json.dumps(test), **own}
        case "APPS":
            test = f'{{"fn_name": "f", "inputs": [[1]], "outputs": [{expected}]}}'
            stdio = json.dumps({"inputs": ["1"], "outputs": [expected]})
            return "apps", {**APPS, "input_output": stdio if script else test}
        case "CodeContests":
            own = {"public_tests": {"input": ["1"], "output": [expected]}, "private_tests": {}}
            return "codecontests", {**CONTESTS, **own, "time_limit": {"seconds": 1, "nanos": 0}}
    checker = CHECKER if expected == "checked" else None
    return "codeforces", {
        **FORCES, "generated_checker": checker, "official_tests": [{"input": "1", "output": expected}],
    }  # fmt: skip


def problem_of(tmp_path: Path, table: str, expected: str, source: str = "") -> Problem:
    """That row as a problem, for answers that are whole programs like this one."""
    name, row = row_of(table, expected, script="def f" not in source)
    (problem,) = loaded(tmp_path, name, row)
    return standing_alone(problem)
