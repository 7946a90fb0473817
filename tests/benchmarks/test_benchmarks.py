"""Public benchmarks: every format loads and is graded, every malformed row is one clear error."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import pickle
from pathlib import Path

import benchmark_files as files
import pytest

from ra3.benchmarks import load_benchmark
from ra3.benchmarks.contests import PlainUnpickler
from ra3.benchmarks.evalplus import tolerance, with_types
from ra3.benchmarks.humaneval_mbpp import as_calls, constant
from ra3.benchmarks.samples import paid_null_programs
from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.grading.problem_tests import CallTest, CheckedTest

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("name", files.CASES)
def test_right_answers_pass_and_wrong_ones_do_not(tmp_path, one_server, name):
    rows, right, wrong = files.CASES[name]
    problems = files.loaded(tmp_path, name, *rows, suffix=".json" if name.startswith("code") else ".jsonl.gz")
    assert {p.meta["band"] for p in problems} == {name}
    verdicts = grade(one_server, [*zip(problems, right, strict=True), *zip(problems, wrong, strict=True)])
    assert [v.reason for v in verdicts[: len(rows)]] == ["passed"] * len(rows)
    assert not any(v.passed for v in verdicts[len(rows) :])
    assert paid_null_programs(problems, one_server) == {}


def test_parquet_files(tmp_path):
    from datasets import Dataset

    Dataset.from_list([files.HUMANEVAL, files.HUMANEVAL_LOOP]).to_parquet(tmp_path / "test.parquet")
    assert [p.id for p in load_benchmark(f"humaneval:{tmp_path}").problems] == ["HumanEval/0", "HumanEval/1"]


def test_references_are_run_once(tmp_path, monkeypatch):
    first = files.loaded(tmp_path, "humaneval+", files.HUMANEVAL_PLUS)
    monkeypatch.setattr("ra3.benchmarks.evalplus.Sandbox", None)
    assert files.loaded(tmp_path, "humaneval+", files.HUMANEVAL_PLUS) == first
    assert first[0].tests == (CallTest((1,), 2), CallTest((2,), 4), CallTest((0.1,), 0.2), CallTest((-3,), -6))
    assert first[0].meta["atol"] == tolerance([0.2], 0) == 1e-6


def test_a_stored_answer_that_is_damaged_is_computed_again(tmp_path):
    first = files.loaded(tmp_path, "humaneval+", files.HUMANEVAL_PLUS)
    (stored,) = (tmp_path / "cache/ra3").iterdir()
    stored.write_bytes(stored.read_bytes()[:20])
    again = files.loaded(tmp_path, "humaneval+", files.HUMANEVAL_PLUS)
    assert again[0].tests == first[0].tests


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


DEEP = "[" * 100_000
BAD = {
    "no JSON": ("humaneval", "{", "no valid JSON"),
    "too deep": ("humaneval", DEEP, "nested too deeply"),
    "no object": ("humaneval", [1], ":1: is a list, not an object"),
    "a field is missing": (
        "humaneval", {k: v for k, v in files.HUMANEVAL.items() if k != "test"},
        r"'test' is missing \(it has: task_id, prompt, entry_point, canonical_solution\)"),
    "a field is null": ("humaneval", {**files.HUMANEVAL, "test": None}, "'test' is null, not a string"),
    "a field of another type": ("humaneval", {**files.HUMANEVAL, "prompt": 3}, "'prompt' is a number"),
    "code that is none": ("humaneval", {**files.HUMANEVAL, "test": "def ("}, "no Python"),
    "no inputs": ("humaneval+", {**files.HUMANEVAL_PLUS, "base_input": [], "plus_input": []}, "no inputs"),
    "inputs that are none": ("humaneval+", {**files.HUMANEVAL_PLUS, "base_input": [1]}, "not a list of arguments"),
    "a bad tolerance": ("humaneval+", {**files.HUMANEVAL_PLUS, "atol": "much"}, "'atol' is a string"),
    "a reference without plain values": (
        "humaneval+", {**files.HUMANEVAL_PLUS, "canonical_solution": "    return object()\n"}, "no answer could be"),
    "no reference": ("humaneval+", {**files.HUMANEVAL_PLUS, "canonical_solution": " "}, "_solution' is empty"),
    "a name that is none": ("humaneval+", {**files.HUMANEVAL_PLUS, "entry_point": "\ud800"}, "'entry_point' is"),
    "inputs of another form": ("mbpp+", {**files.MBPP_PLUS, "base_input": [[1, 2]]}, "does not have the form"),
    "no asserts": ("mbpp", {**files.MBPP_CALL, "test_list": []}, "'test_list' is empty"),
    "asserts that call nothing": ("mbpp", {**files.MBPP_CALL, "test_list": ["assert 1 == 1"]}, "call no function"),
    "no number": ("mbpp", {**files.MBPP_CALL, "task_id": "x"}, "whole number"),
    "too many digits": ("mbpp", {**files.MBPP_CALL, "task_id": "9" * 5000}, "whole number"),
    "a pickled class": ("livecodebench", {**files.LCB_STDIN, "private_test_cases": files.packed(Evil())}, "plain data"),
    "a pickle of no text": ("livecodebench", {**files.LCB_STDIN, "private_test_cases": files.packed([1])}, "not JSON"),
    "no base64": ("livecodebench", {**files.LCB_STDIN, "private_test_cases": "%%%"}, "cannot be decoded"),
    "no function name": ("livecodebench", {**files.LCB_METHOD, "metadata": "{}"}, "'func_name' is missing"),
    "tests of unequal length": (
        "codecontests", {**files.REPACKAGED, "tests": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
    "an empty test list": ("codeforces", {"problem": "x", "tests": []}, "no tests"),
    "bad tests": ("apps", {**files.APPS, "input_output": "{"}, "no valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_row_is_one_clear_error(tmp_path, case, monkeypatch):
    name, row, message = BAD[case]
    path = tmp_path / "rows.jsonl"
    path.write_text(row if isinstance(row, str) else json.dumps(row))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        load_benchmark(f"{name}:{path}")
    assert str(caught.value).startswith(str(path)) and not Path("evil").exists()


MISSING = object()
ODD = (
    MISSING, None, 3, -1, float("inf"), True, "", "x", "\ud800", "\0", "def f(", "(" * 5000, "9" * 5000, [], [None],
    [3], ["x"], [[]], [[[]]], {}, {"a": 1}, [{}], {"input": ["x"], "output": []}, {"inputs": 3, "outputs": 4},
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in files.CASES if not name.endswith("+")])
def test_whatever_a_field_holds_is_used_or_refused(tmp_path, name):
    for row in files.CASES[name][0]:
        for key in row:
            for odd in ODD:
                changed = {k: v for k, v in {**row, key: odd}.items() if v is not MISSING}
                (tmp_path / "rows.jsonl").write_text(json.dumps(changed))
                with contextlib.suppress(UserError):
                    load_benchmark(f"{name}:{tmp_path / 'rows.jsonl'}")


def test_malformed_files_and_names(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "rows.csv").write_text("a,b")
    twice = files.write(tmp_path / "twice.jsonl", files.HUMANEVAL, files.HUMANEVAL)
    for path, message in (
        ("empty.jsonl", "holds no rows"), ("cut.jsonl.gz", "the file cannot be read"), ("rows.csv", "of this kind"),
        ("nothing.jsonl", "no such file"), (twice.name, "is there twice"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            load_benchmark(f"humaneval:{tmp_path / path}")
    with pytest.raises(UserError, match="did you mean humaneval"):
        load_benchmark("humanevl")


def test_problems_that_cannot_be_graded_are_left_out(tmp_path):
    rows = [files.FORCES, {**files.FORCES, "id": "2/C", "input_mode": "file"}]
    found = load_benchmark(f"codeforces:{files.write(tmp_path / 'rows.jsonl', *rows)}")
    assert found.left_out == {"2/C": "reads or writes a file"}
    assert all(isinstance(test, CheckedTest) for test in found.problems[0].tests)


def test_splits_of_mbpp(tmp_path):
    rows = [{**files.MBPP_CALL, "task_id": number} for number in (10, 11, 510, 511, 601, 974)]
    path = files.write(tmp_path / "mbpp.jsonl", *rows)
    found = {
        name: [p.id for p in load_benchmark(f"{name}:{path}").problems]
        for name in ("mbpp", "mbpp-train", "mbpp-validation")
    }
    assert found == {
        "mbpp": ["Mbpp/11", "Mbpp/510"], "mbpp-train": ["Mbpp/601", "Mbpp/974"], "mbpp-validation": ["Mbpp/511"],
    }  # fmt: skip


def test_asserts_become_calls_only_where_that_is_the_same():
    assert as_calls(ast.parse("assert f(1, [2]) == (3, -4)\nassert f('a' + 'b') is None").body, "f") == [
        CallTest((1, [2]), (3, -4)), CallTest(("ab",), None),
    ]  # fmt: skip
    for other in (
        "assert f(1)",
        "assert f(1) != 2",
        "assert g(1) == 2",
        "assert f(x=1) == 2",
        "x = 1",
        "assert f(y) == 1",
    ):
        assert as_calls(ast.parse(other).body, "f") is None
    with pytest.raises(ValueError, match="BinOp"):
        constant(ast.parse("9 ** 9 ** 9", mode="eval").body)


def test_inputs_of_mbpp_plus_get_their_types_back():
    assert with_types("Mbpp/106", [[[1], [2]]]) == [[[1], (2,)]]
    assert with_types("Mbpp/115", [[[[1, 1], []]]]) == [[[{1}, {}]]]
    assert with_types("Mbpp/124", [["1.5", "2j"]]) == [[1.5, 2j]]
    assert with_types("Mbpp/580", [[[1, [2, [3]]]]]) == [[(1, (2, (3,)))]]
    assert with_types("Mbpp/3", [[[1]]]) == [[[1]]]


def test_an_unpickler_that_refuses_every_class():
    for value in (Evil(), set, pickle.Pickler):
        with pytest.raises(pickle.UnpicklingError, match="plain data"):
            PlainUnpickler(io.BytesIO(pickle.dumps(value))).load()
