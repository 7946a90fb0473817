"""Samples files, null solutions and contamination: what is graded, what pays nothing, what must not be trained on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import benchmark_files as files
import pytest

from ra3.benchmarks import Loaded, load_benchmark
from ra3.benchmarks.contamination import Index, problem_marks, text_marks
from ra3.benchmarks.samples import null_programs, paid_null_programs, read_samples, standing_alone
from ra3.commands.inputs import ProblemSet, overlap_lines
from ra3.config.settings import Config
from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.grading.problem_tests import CallTest, JudgeTest, StdioTest
from ra3.grading.problems import Problem, program

DATA = os.environ.get("RA3_BENCH_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="RA3_BENCH_DATA names no folder of benchmark files")


pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_samples_file(tmp_path, one_server):
    problems = files.loaded(tmp_path, "humaneval", files.HUMANEVAL, files.HUMANEVAL_LOOP)
    rows = [
        {"task_id": "HumanEval/0", "completion": "    return 2 * x\n"},
        {"task_id": 0, "solution": "def twice(x):\n    return x + x\n"},
        {"task_id": "HumanEval/1", "response": "So:\n```python\ndef root(x):\n    return square(x) ** 0.25\n```\n"},
        {"task_id": "HumanEval/1", "response": "I do not know."},
    ]
    samples = read_samples(files.write(tmp_path / "samples.jsonl", *rows), problems)
    assert [v.passed for v in grade(one_server, samples)] == [True, True, True, False]


def test_samples_of_tasks_that_are_left_out_are_passed_over(tmp_path):
    path = files.write(tmp_path / "cf.jsonl", files.FORCES, {**files.FORCES, "id": "2/C", "input_mode": "file"})
    found = load_benchmark(f"codeforces:{path}")
    rows = [{"task_id": name, "response": "```py\nprint(0)\n```"} for name in ("2/C", "1/B", "2/C")]
    samples = read_samples(files.write(tmp_path / "samples.jsonl", *rows), found.problems, found.left_out)
    assert [sample.problem.id for sample in samples] == ["1/B"]


@pytest.mark.parametrize("name", files.CASES)
def test_no_null_program_and_no_empty_answer_is_paid(tmp_path, name, one_server):
    problems = files.loaded(tmp_path, name, *files.CASES[name][0])
    empty = [(asked, "") for problem in problems for asked in (problem, standing_alone(problem))]
    assert paid_null_programs(problems, one_server) == {}
    assert [verdict.passed for verdict in grade(one_server, empty)] == [False] * len(empty)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no valid JSON"), ('"x"', "is a string"), ('{"completion": ""}', "'task_id' is missing"),
        ('{"task_id": "HumanEval/9", "completion": ""}', "no task 'HumanEval/9'"),
        ('{"task_id": "HumanEval/0"}', "no answer"), ('{"task_id": "HumanEval/0", "completion": 3}', "is a number"),
        ('{"task_id": "HumanEval/0", "completion": "", "solution": ""}', "completion and solution"),
    ],
)  # fmt: skip
def test_a_bad_sample_is_named_with_its_line(tmp_path, line, message):
    problems = files.loaded(tmp_path, "humaneval", files.HUMANEVAL)
    path = tmp_path / "samples.jsonl"
    path.write_text(f'{{"task_id": "HumanEval/0", "completion": ""}}\n{line}\n')
    with pytest.raises(UserError, match=message) as caught:
        read_samples(path, problems)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_twenty_null_programs_of_each_kind(tmp_path):
    for name in ("humaneval", "codecontests"):
        rows = files.CASES[name][0]
        for problem in files.loaded(tmp_path, name, *rows):
            assert len(null_programs(problem)) == 20
            assert program(standing_alone(problem), "x = 1\n") == f"{problem.prefix}x = 1\n"


def test_a_degenerate_problem_is_found(one_server):
    problem = Problem("same", "", "f", (CallTest((1,), 1), CallTest((2,), 2)), meta={"numbers": "python"})
    anything = Problem("any", "", "f", (JudgeTest("f(1)"),))
    assert paid_null_programs([problem], one_server) == {"same": ["args[0]", "args[-1]"]}
    assert len(paid_null_programs([anything], one_server)["any"]) == 20


STATEMENT = (
    "Given the weights of several parcels find how many lorries with one fixed capacity carry all of them at once"
)
REFERENCE = (
    "def lorries(weights, capacity):\n    count, load = 0, capacity\n    for weight in sorted(weights, reverse=True):\n"
    "        if load + weight > capacity:\n            count, load = count + 1, 0\n        load += weight\n"
    "    return count\n"
)


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        (f"# {STATEMENT.upper()}!", {"words"}),
        ("def lorries(weights: list, capacity=3): ...", {"signature"}),
        (REFERENCE.replace("lorries", "f").replace("count", "n").replace("load", "l"), {"solution"}),
        ("assert g([10, 20, 30], 40) == 2\nassert g([5], 9) == 1", {"tests"}),
        ("assert g([5], 9) == 1", set()),
        ("def other(weights):\n    return len(weights)\n", set()),
    ],
)  # fmt: skip
def test_every_sign_of_contamination(text, signs):
    tests = (CallTest(([10, 20, 30], 40), 2), CallTest(([5], 9), 1))
    problem = Problem("b/1", STATEMENT, "lorries", tests, meta={"references": [REFERENCE], "numbers": "python"})
    found = Index([Loaded("b", [problem])]).overlap("doc", text_marks(text))
    assert (set(found.signs) if found else set()) == signs
    own = Index([Loaded("b", [problem])]).overlap("copy", problem_marks(problem))
    assert own and set(own.signs) == {"words", "signature", "solution", "tests"}


def test_the_marks_of_very_deep_code_are_found():
    terms = " + ".join(["x"] * 900)
    one, other, third = (f"def f({name}):\n    return {terms.replace('x', name)}\n" for name in ("x", "y", "long"))
    marks = [text_marks(text)["solution"] for text in (one, other, third, one.replace("x + x", "x - x", 1))]
    assert len(marks[0]) == 1 and marks[0] == marks[1] == marks[2] != marks[3]


def ra3(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ra3", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def test_samples_are_graded_through_the_command_line(tmp_path):
    files.write(tmp_path / "he.jsonl", files.HUMANEVAL, files.HUMANEVAL_LOOP)
    good, bad = (
        {"task_id": "HumanEval/0", "completion": "    return x + x\n"},
        {"task_id": "HumanEval/0", "completion": ""},
    )
    other = {"task_id": "HumanEval/1", "completion": "    return x ** 0.5\n"}
    files.write(tmp_path / "samples.jsonl", good, bad, other)
    words = ["eval", "--bench", "humaneval:he.jsonl", "--samples", "samples.jsonl", "--name", "graded"]
    result = ra3(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "runs/graded/results.json").read_text())
    (row,) = results["rows"]
    assert (row["metric"], row["mean"], row["band"], row["problems"]) == ("pass@1", 0.75, "humaneval", 2)
    assert results["problems"][0]["reasons"] == {"passed": 1, "wrong_answer": 1}
    assert "1 of 2 problems solved by every sample" in result.stdout and "HumanEval/0" in result.stdout
    rows = [json.loads(line) for line in (tmp_path / "runs/graded/samples.jsonl").read_text().splitlines()]
    assert [row["passed"] for row in rows] == [True, False, True]
    assert ra3(tmp_path, *words, "--resume").returncode == 0


def test_samples_of_some_tasks_are_graded_as_such(tmp_path):
    files.write(tmp_path / "he.jsonl", files.HUMANEVAL, files.HUMANEVAL_LOOP)
    files.write(tmp_path / "samples.jsonl", {"task_id": "HumanEval/1", "completion": "    return x ** 0.5\n"})
    result = ra3(tmp_path, "eval", "--bench", "humaneval:he.jsonl", "--samples", "samples.jsonl", "--name", "part")
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "runs/part/results.json").read_text())
    (row,) = results["rows"]
    assert (row["band"], row["mean"], row["problems"]) == ("humaneval, 1 of 2 tasks", 1.0, 1)
    assert results["left_out"] == {"HumanEval/0": "it has no sample"}
    assert "1 of 2 problems are left out, and not scored" in result.stdout
    assert "humaneval, 1 of 2 tasks" in result.stdout and "left out HumanEval/0: it has no sample" in result.stdout


def test_a_part_is_named_band_by_band():
    tests = (StdioTest("", "a\n"),)
    problems = [Problem(f"{band}-{i}", "", None, tests, meta={"band": band}) for band in "ab" for i in range(3)]
    problems.append(Problem("c", "", None, tests))
    whole = ProblemSet("problems.jsonl", problems)
    part = whole.in_part({"a-0", "a-2", "b-0", "b-1", "b-2", "c"})
    assert {p.id: p.meta["band"] for p in part.problems} == {
        "a-0": "a, 2 of 3 tasks", "a-2": "a, 2 of 3 tasks", "b-0": "b", "b-1": "b", "b-2": "b", "c": "all",
    }  # fmt: skip
    assert part.left_out == {"a-1": "it has no sample"} and whole.problems[0].meta == {"band": "a"}
    assert {p.meta["band"] for p in whole.in_part({"c"}).problems} == {"all"}


def test_overlaps_through_the_command_line(tmp_path):
    files.write(tmp_path / "he.jsonl", files.HUMANEVAL)
    files.write(tmp_path / "corpus.jsonl", {"id": "a", "text": "x = 1\n"}, {"id": "b", "text": "def twice(x): pass\n"})
    words = ["--corpus", "corpus.jsonl", "--run.benchmarks", "humaneval:he.jsonl"]
    result = ra3(tmp_path, "overlap", *words)
    assert result.returncode == 0, result.stderr
    assert "b: shares with humaneval HumanEval/0: a function of this name" in result.stdout
    assert "1 of 2 documents overlap" in result.stdout and "0 of 2000 problems overlap" in result.stdout
    with pytest.raises(UserError, match="no benchmarks to compare with"):
        list(overlap_lines(Config()))


@needs_data
def test_mbpp_plus_overlaps_the_training_split_of_mbpp():
    plus = load_benchmark(f"mbpp+:{DATA}/MbppPlus.jsonl.gz")
    train = load_benchmark(f"mbpp-train:{DATA}/MBPP.jsonl.gz").problems
    index = Index([plus])
    found = {problem.id for problem in train if index.overlap(problem.id, problem_marks(problem))}
    shared = {problem.id for problem in plus.problems} & {problem.id for problem in train}
    assert len(shared) == 108 and shared <= found


@needs_data
def test_references_of_the_public_files_pass(one_server):
    for name, file, count in (("humaneval", "HumanEval.jsonl.gz", 164), ("mbpp-all", "MBPP.jsonl.gz", 974)):
        problems = load_benchmark(f"{name}:{DATA}/{file}").problems
        verdicts = grade(one_server, [(standing_alone(p), p.meta["references"][0]) for p in problems])
        failed = {p.id: v.reason for p, v in zip(problems, verdicts, strict=True) if not v.passed}
        assert len(problems) == count and failed == {}
