"""Problems: what a file may hold, and one clear error for everything else."""

import json

import pytest

from ra3.errors import UserError
from ra3.grading.problems import CallTest, CheckedTest, JudgeTest, Problem, StdioTest, load, program

GOOD = {"id": "a", "prompt": "def f(x):\n", "entry_point": "f", "tests": [{"args": [1], "expected": 2}]}
JUDGED = {**GOOD, "tests": [{"judge": "for x in (1, 2):\n    assert f(x) == x + 1\n"}]}
CHECKED = {"id": "d", "prompt": "", "tests": [{"stdin": "4\n", "checker": "def check(i, o, r):\n    return o > r\n"}]}
SCRIPT = {"id": "b", "prompt": "# double\n", "tests": [{"stdin": "1\n", "stdout": "2\n"}]}


def write(tmp_path, *rows):
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_file_of_problems(tmp_path):
    extra = {"id": "c", "stop": ["\ndef "], "meta": {"band": "edge", "numbers": "loose"}}
    first, second, third = load(write(tmp_path, GOOD, "", SCRIPT, {**GOOD, **extra}))
    assert first == Problem("a", "def f(x):\n", "f", (CallTest((1,), 2),))
    assert second.entry_point is None and second.tests == (StdioTest("1\n", "2\n"),)
    assert third.stop == ("\ndef ",) and third.meta["band"] == "edge"
    assert program(first, "    return x + 1\n") == "def f(x):\n    return x + 1\n"


def test_python_literals(tmp_path):
    test = {"args": [{"a": [{"__python__": "(1, {2})"}]}], "expected": {"__python__": "b'x'"}}
    (problem,) = load(write(tmp_path, {**GOOD, "tests": [test]}))
    assert problem.tests == (CallTest(({"a": [(1, {2})]},), b"x"),)


def test_judges_and_checkers(tmp_path):
    named = {"judge": "import math\nassert math.isclose(f(1), g(1))\n", "names": ["g"]}
    judged, checked, both = load(write(tmp_path, JUDGED, CHECKED, {**JUDGED, "id": "e", "tests": [named]}))
    assert judged.tests == (JudgeTest(JUDGED["tests"][0]["judge"]),) and judged.entry_point == "f"
    assert checked.tests == (CheckedTest("4\n", CHECKED["tests"][0]["checker"]),) and checked.entry_point is None
    assert both.tests[0].names == ("g",)


def judged(source, **more):
    return {**JUDGED, "tests": [{"judge": source, **more}]}


def checked(source, **more):
    return {**CHECKED, "tests": [{"stdin": "", "checker": source, **more}]}


BAD = {
    "not json": ("{", "no valid JSON"),
    "not an object": ([1], "is a list, not an object"),
    "nested too deeply": ("[" * 100_000, "nested too deeply"),
    "no id": ({key: GOOD[key] for key in GOOD if key != "id"}, "'id' is missing"),
    "no tests": ({**GOOD, "tests": []}, "has no tests"),
    "tests missing": ({"id": "a", "prompt": ""}, "'tests' is missing"),
    "tests of no kind": ({**GOOD, "tests": [{"args": [1]}]}, "is not a test"),
    "tests of two kinds": ({**GOOD, "tests": GOOD["tests"] + SCRIPT["tests"]}, "mixes kinds"),
    "a test that is no object": ({**GOOD, "tests": [3]}, "is not a test"),
    "arguments that are no list": ({**GOOD, "tests": [{"args": 1, "expected": 2}]}, "'args' is a number, not a list"),
    "output that is no text": ({**SCRIPT, "tests": [{"stdin": "", "stdout": 3}]}, "'stdout' is a number, not a string"),
    "an input that is no Unicode": ({**SCRIPT, "tests": [{"stdin": "\ud800", "stdout": ""}]}, "no text in test 0"),
    "an entry point too much": ({**SCRIPT, "entry_point": "f"}, "stdin/stdout tests"),
    "no entry point": ({**GOOD, "entry_point": None}, "entry point None"),
    "an entry point that is no name": ({**GOOD, "entry_point": "f(x)"}, "entry point 'f"),
    "an unknown key": ({**GOOD, "solution": 3}, "unknown key 'solution'"),
    "a bad literal": ({**GOOD, "tests": [{"args": [{"__python__": "f("}], "expected": 1}]}, "not a Python literal"),
    "code as a literal": ({**GOOD, "tests": [{"args": [{"__python__": "open('x')"}], "expected": 1}]}, "not a Python"),
    "no plain value": ({**GOOD, "tests": [{"args": [{"__python__": "..."}], "expected": 1}]}, "no answer could be"),
    "an expected NaN": ({**GOOD, "tests": [{"args": [], "expected": float("nan")}]}, "test 0"),
    "a prompt that is no text": ({**GOOD, "prompt": 3}, "'prompt' is a number, not a string"),
    "a stop that is no text": ({**GOOD, "stop": [3]}, "'stop' holds"),
    "meta that is no object": ({**GOOD, "meta": []}, "'meta' is a list, not an object"),
    "unknown kind of answer": ({**GOOD, "answer": "essay"}, "answer = 'essay'"),
    "unknown number rule": ({**GOOD, "meta": {"numbers": "fuzzy"}}, "fuzzy"),
    "a judge that is no text": (judged(3), "'judge' is a number, not a string"),
    "a judge that is no Python": (judged("assert f(1) =="), "a judge that is no Python in test 0"),
    "a judge with a null": (judged("f(1)\0"), "a judge that is no Python"),
    "a judge that tests nothing": (judged("assert True"), "a judge that does not call 'f'"),
    "a judge with its own f": (judged("def f(x):\n    return 2\nassert f(1) == 2"), "a judge that does not call 'f'"),
    "a judge that lacks a name": (judged("assert f(1) == g(1)"), "a judge that uses 'g', which nothing defines"),
    "a judge with a name too much": (judged("f(1)", names=["g"]), "a judge that does not call 'g'"),
    "a judge with a bad name": (judged("f(1)", names=[["g"]]), "the names"),
    "a judge without entry point": ({**JUDGED, "entry_point": None}, "entry point None"),
    "no judges": ({**JUDGED, "tests": []}, "has no tests"),
    "a judge and a call": ({**JUDGED, "tests": JUDGED["tests"] + GOOD["tests"]}, "mixes kinds"),
    "a judge with more keys": (judged("f(1)", stdin=""), "is not a test"),
    "a checker that is no text": (checked(None), "'checker' is null, not a string"),
    "a checker that is no Python": (checked("def check("), "a checker that is no Python"),
    "a checker without check": (checked("def right(a, b, c): pass"), "a checker without a function check"),
    "a reference that is no text": (checked("def check(a, b, c): pass", reference=3), "'reference' is a number, not a"),
    "a checker with entry point": ({**CHECKED, "entry_point": "f"}, "stdin/stdout tests"),
    "a checker and an output": ({**CHECKED, "tests": CHECKED["tests"] + SCRIPT["tests"]}, "mixes kinds"),
    "too much time": ({**GOOD, "meta": {"cpu_s": 1e6}}, "meta cpu_s = 1000000.0"),
    "no time": ({**GOOD, "meta": {"cpu_s": 0}}, "meta cpu_s = 0"),
    "time that is no number": ({**GOOD, "meta": {"cpu_s": "1"}}, "meta cpu_s = \"1\""),
    "too little memory": ({**GOOD, "meta": {"memory_mb": 1}}, "meta memory_mb = 1"),
    "memory that is no integer": ({**GOOD, "meta": {"memory_mb": 200.5}}, "meta memory_mb = 200.5"),
    "a tolerance below 0": ({**GOOD, "meta": {"atol": -1}}, "meta atol = -1"),
    "a tolerance that is none": ({**GOOD, "meta": {"rtol": True}}, "meta rtol = true"),
    "an id used twice": (GOOD, "used twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named(tmp_path, name):
    row, message = BAD[name]
    with pytest.raises(UserError, match=message) as caught:
        load(write(tmp_path, {**GOOD, "id": "first"}, GOOD if name == "an id used twice" else "", row))
    assert str(caught.value).startswith(f"{tmp_path / 'problems.jsonl'}:3: ")


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="cannot be read: .*No such file"):
        load(tmp_path / "nothing.jsonl")
    with pytest.raises(UserError, match="holds no rows"):
        load(write(tmp_path, "", " "))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="binary.jsonl:1: is not UTF-8: byte 0xff"):
        load(tmp_path / "binary.jsonl")
    with pytest.raises(UserError, match=r"not read: problems.txt(.|\n)*allowed: .jsonl"):
        load(tmp_path / "problems.txt")


def test_problems_without_a_verdict_cannot_be_made():
    with pytest.raises(UserError, match="has no tests"):
        Problem("a", "", "f", ())
    with pytest.raises(UserError, match="no answer could be"):
        Problem("a", "", "f", (CallTest((object(),), 1),))
    with pytest.raises(UserError, match="no text"):
        Problem("a", "", None, (StdioTest(b"", ""),))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no Python"):
        Problem("a", "", "f", (JudgeTest(None),))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the names 'g'"):
        Problem("a", "", "f", (JudgeTest("f(1) == g(1)", "g"),))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="mixes kinds"):
        Problem("a", "", "f", (3,))  # type: ignore[arg-type]
