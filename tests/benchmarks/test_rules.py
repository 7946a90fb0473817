"""Each benchmark's rules of comparison: the rows of the tables in docs/benchmarks.md, each with answers it decides."""

import json
import re
from dataclasses import replace
from pathlib import Path

import benchmark_files as files
import pytest
from benchmark_files import gives
from verdict_reason import reason

from ra3.benchmarks import load_benchmark
from ra3.grading.grade import grade
from ra3.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs/benchmarks.md"
LONG, WORKED_OUT = "7" * 5000, "7 * (10 ** 5000 - 1) // 9"
"""An integer of more digits than Python writes and reads by itself."""
TUPLES = "from collections import namedtuple\ndef f(x):\n    return namedtuple('Pair', 'a b')(1, 2)\n"
ENUM = "import enum\nclass Size(enum.IntEnum):\n    BIG = 3\ndef f(x):\n    return Size.BIG\n"
WORD = "import enum\nclass Word(str, enum.Enum):\n    YES = 'yes'\ndef f(x):\n    return Word.YES\n"
LIAR = "class Any(int):\n    __eq__ = lambda self, other: True\ndef f(x):\n    return Any(4)\n"
METHOD = "class Solution:\n    def f(self, x: List[int]) -> int:\n        return Counter(x).most_common(1)[0][0]\n"
STATE = "class Solution:\n    def __init__(self):\n        self.calls = 0\n    def f(self, x):\n        return x\n"


def prints(text: str, then: str = "") -> str:
    """A script that prints this."""
    return f"print({text!r}, end='')\n{then}"


FUNCTIONS = {
    "comparison": [("[1, 2]", gives("[1, 2]"), True), ("[1, 2]", gives("[2, 1]"), False),
                   ("{1: 2}", gives("{1: 2}"), True),
                   (LONG, gives(WORKED_OUT), True), (LONG, gives(f"{WORKED_OUT} + 1"), False)],
    "decimals": [("0.3", gives("0.3"), True), ("0.3", gives("0.1 + 0.2"), False), ("1.0", gives("1.0000001"), False),
                 ("[0.5]", gives("[0.5000001]"), False)],
    "types": [("1", gives("True"), True), ("1", gives("1.0"), True), ("1", gives("'1'"), False),
              ("{1, 2}", gives("frozenset((2, 1))"), True), ("None", gives("False"), False)],
    "tuples and lists": [("[1, 2]", gives("(1, 2)"), False), ("(1, 2)", gives("[1, 2]"), False),
                         ("(1, 2)", gives("1, 2"), True)],
    "subclasses": [("(1, 2)", TUPLES, True), ("3", ENUM, True), ("'yes'", WORD, True), ("4", LIAR, True),
                   ("5", LIAR, False),
                   ("{1}", gives("{1: 2}.keys()"), True),
                   ("{'a': 1}", gives("__import__('collections').Counter('a')"), True),
                   ("b'a'", gives("bytearray(b'a')"), True)],
    "no plain form": [("[0, 1]", gives("range(2)"), False), ("3", gives("__import__('decimal').Decimal(3)"), False),
                      ("[1]", gives("iter([1])"), False), ("[1]", gives("{1: 1}.values()"), False)],
    "exit code": [("1", f"{gives('1')}raise SystemExit(0)\n", False), ("1", gives("exit()"), False)],
}  # fmt: skip
OUTPUT = {
    "output": [("a b\nc", prints("a b\nc\n"), True), ("a b", prints("a c"), False), ("a b", prints("a"), False),
               ("10", prints("10 1"), False), ("", "", True), ("1", prints("01"), False),
               (LONG, f"print({WORKED_OUT})\n", True)],
    "white space": [("1\n2\n", prints("1 2"), True), ("1 2", prints("1\n\n2\n"), True),
                    ("1\n\n2", prints("1\n2"), True),
                    ("1", prints("\n 1 \r\n\n"), True), ("1 2", prints("1\t\f2"), True),
                    ("1 2", prints("1\u00a02"), False)],
    "case": [("YES", prints("Yes"), False), ("YES", prints("YES"), True)],
    "decimals": [("0.5 7", prints("0.5000001 7"), True), ("0.5 7", prints(".5 7"), True),
                 ("0.5", prints("0.50001"), False),
                 ("1000000007 0.50", prints("1000000000 0.50"), False),
                 ("1000000007 0.50", prints("1000000007.0 0.50"), False),
                 ("112.0", prints("112." + "0" * 70 + "e9"), False), ("1000.5", prints("1_000.5"), False),
                 ("1e-05 0.5", prints("0.00001 5e-1"), True), ("0.5", prints("nan"), False),
                 ("3", prints("3.0"), False)],
    "exit code": [("1", prints("1\n", "raise SystemExit(0)\n"), True),
                  ("1", prints("1\n", "raise SystemExit(1)\n"), False),
                  ("1", prints("1\n", "1 / 0\n"), False)],
    "imports": [("4", "print(int(sqrt(16)))\n", False), ("4", "import math\nprint(math.isqrt(16))\n", True)],
}  # fmt: skip
ANY_EXIT = [("1", prints("1\n", "import sys\nsys.exit(1)\n"), True), ("1", prints("1\n", "exit('done')\n"), True),
            ("1", prints("1\n", "1 / 0\n"), False), ("1", prints("2\n", "exit(1)\n"), False)]  # fmt: skip
CASES = {
    "HumanEval": {**FUNCTIONS, "imports": [("4", gives("math.isqrt(16)"), False)]},
    "MBPP": {**FUNCTIONS, "imports": [("4", gives("math.isqrt(16)"), False)]},
    "HumanEval+ and MBPP+": {
        **FUNCTIONS,
        "comparison": [*FUNCTIONS["comparison"][:3], (WORKED_OUT, gives(WORKED_OUT), True)],
        "decimals": [("0.3", gives("0.1 + 0.2"), True), ("1.0", gives("1.00001"), False),
                     ("1", gives("1.0000001"), False),
                     ("[0.5, 2.0]", gives("[0.5000001, 2]"), True), ("[0.5, 2.0]", gives("(0.5000001, 2.0)"), False),
                     ("[0.5, 1]", gives("[0.5000001, 1]"), False)],
        "shapes": [("[1.0, 1.0]", gives("[1.0]"), False)],
        "imports": [("4", gives("math.isqrt(16)"), False)],
    },
    "LiveCodeBench": {
        "output": [case for case in OUTPUT["output"] if case[0] != "1"],
        "white space": [("1 2\n3", prints(" 1 2 \n3\n\n"), True), ("1", prints("\n\n1"), True),
                        ("1\n2", prints("1 2"), False),
                        ("1\n\n2", prints("1\n2"), False), ("a b", prints("a  b"), False),
                        ("1 2", prints("1  2"), True)],
        "decimals": [("1.5", prints("1.50"), True), ("2", prints("2.0"), True), ("1.5 2", prints("15e-1 02"), True),
                     ("0.333333333", prints("0.3333333333"), False),
                     ("50000000000000000", prints("50000000000000001"), False),
                     ("1.5 a", prints("1.50 a"), False), ("1", prints("one"), False), ("1", prints("sNaN"), False)],
        "values": [("[1, 2]", gives("[1, 2]"), True), ("true", gives("1"), True), ("0.3", gives("0.1 + 0.2"), False),
                   ("3", STATE, False), ("1", STATE, True), ("1", gives("x"), True), (LONG, gives(WORKED_OUT), True)],
        "tuples and lists": [("[1, 2]", gives("(1, 2)"), True), ("[1, 2]", TUPLES, True),
                             ("[[1, 2]]", gives("[(1, 2)]"), False)],
        "imports": [("4", "print(int(sqrt(16)), end='\\n')\n", True), ("4", "print(Counter('aaaa')['a'])\n", True)],
        "exit code": ANY_EXIT,
    },
    "APPS": {
        "output": [*OUTPUT["output"], ("1 2", prints("2 1"), False)],
        "white space": OUTPUT["white space"], "case": OUTPUT["case"], "decimals": OUTPUT["decimals"][:-1],
        "values": [("[1, 2]", gives("[1, 2]"), True), ("true", gives("1"), True), ("0.3", gives("0.1 + 0.2"), False),
                   ("[1, 2]", gives("{1, 2}"), False), ("1", STATE, True), (LONG, gives(WORKED_OUT), True)],
        "wrapped values": [("[5]", gives("5"), True), ("[[2]]", gives("[2]"), True), ("[2]", gives("[2]"), True),
                           ("[5, 6]", gives("5"), False), ("[]", gives("[]"), True), ("[[]]", gives("[]"), True)],
        "tuples and lists": [("[1, 2]", gives("(1, 2)"), True), ("[[1, 2]]", gives("(1, 2)"), True),
                             ("[[[1, 2], [2, 1]]]", gives("[(1, 2), (2, 1)]"), True),
                             ("[[[[1]]]]", gives("[[(1,)]]"), False)],
        "keys": [('{"1": 2}', gives("{1: 2}"), True), ('[{"1": 2}]', gives("{1: 2}"), True),
                 ('{"a": 2}', gives("{'a': 2}"), True),
                 ('{"1": 2}', gives("{'1': 2}"), False)],
        "imports": [("1", METHOD.replace("Counter(x)", "Counter([x])"), True), ("2", gives("gcd(4, 6)"), True),
                    ("4", "print(int(sqrt(16)))\n", True), ("1", gives("np.int64(1)"), False)],
        "exit code": ANY_EXIT,
    },
    "CodeContests": OUTPUT,
    "Codeforces": {
        **OUTPUT, "checker": [("checked", prints("0 1"), True), ("checked", prints("1 1"), False)],
    },
}  # fmt: skip
"""By table and row: what is expected, a program, whether it is paid."""
LIMITS = {
    "HumanEval": 5, "MBPP": 5, "HumanEval+ and MBPP+": 4, "LiveCodeBench": 6, "APPS": 4,
    "CodeContests": 3, "Codeforces": 3,
}  # fmt: skip
"""CPU seconds of a problem with one test, and, for contests, a limit of one second."""
ELSEWHERE = {("HumanEval+ and MBPP+", "own oracles"), ("CodeContests", "left out"), ("Codeforces", "left out")}
"""Rows with a test in test_evalplus_rules.py or test_benchmarks.py."""


@pytest.mark.parametrize(("table", "row"), [(table, row) for table, rows in CASES.items() for row in rows])
def test_a_rule_pays_what_its_row_says(table, row, tmp_path, one_server: Sandbox):
    for expected, source, paid in CASES[table][row]:
        verdict = reason(one_server, files.problem_of(tmp_path, table, expected, source), source)
        assert (verdict == "passed") is paid, (expected[:99], source, verdict)


@pytest.mark.parametrize("table", LIMITS)
def test_limits_of_time(table, tmp_path):
    limit = files.problem_of(tmp_path, table, "1").meta["cpu_s"]
    assert LIMITS[table] <= limit < LIMITS[table] + 1


def test_calls_share_what_each_may_take(tmp_path):
    for name, row, limit in (("livecodebench", files.LCB_METHOD, 12), ("apps", files.APPS, 8)):
        assert files.loaded(tmp_path, name, row)[0].meta["cpu_s"] == limit
    tests = json.dumps({"fn_name": "size", "inputs": [["a"]] * 500, "outputs": [[1]] * 500})
    assert files.loaded(tmp_path, "apps", {**files.APPS, "input_output": tests})[0].meta["cpu_s"] == 600


def test_a_program_that_does_not_end_costs_the_limit_of_one_call(tmp_path, one_server: Sandbox):
    tests = json.dumps({"fn_name": "f", "inputs": [[1], [2], [3]], "outputs": [[1], [2], [3]]})
    (problem,) = files.loaded(tmp_path, "apps", {**files.APPS, "input_output": tests})
    quick = replace(problem, meta=problem.meta | {"call_cpu_s": 0.3, "cpu_s": 600})
    looping, counting, crossing = (
        grade(one_server, [(quick, f"```python\n{source}```")])[0]
        for source in (
            "def f(x):\n    while True: pass\n", "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n\n",
            "def f(x):\n    return x if x < 3 else 0\n",
        )
    )  # fmt: skip
    assert looping.reason == "timeout" and looping.cpu_s < 5
    assert (counting.reason, crossing.reason) == ("passed", "wrong_answer")


def test_the_page_has_these_tables_and_rows():
    tables = re.findall(r"^### (.*?)\n(.*?)(?=^#)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = {(name, row) for name, text in tables for row in re.findall(r"^\| ([a-z ]+) \|", text, re.MULTILINE)}
    limits = {(table, "limit") for table in LIMITS}
    assert found == {(table, row) for table, rows in CASES.items() for row in rows} | limits | ELSEWHERE


def test_a_file_without_all_official_tests_is_left_out(tmp_path):
    rows = [
        {**files.FORCES, "id": "1", "official_tests": []}, {**files.FORCES, "id": "2", "official_tests": None},
        {**files.FORCES, "id": "3", "official_tests_complete": False},
        {**files.FORCES, "official_tests_complete": True},
    ]  # fmt: skip
    found = load_benchmark(f"codeforces:{files.write(tmp_path / 'rows.jsonl', *rows)}")
    assert [problem.id for problem in found.problems] == ["1/B"]
    assert found.left_out == dict.fromkeys("123", "its file does not hold all official tests")
