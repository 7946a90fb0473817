"""Problems prove themselves: what fails its own reference or checker is left out with the reason, never scored 0."""

import json
import os

import benchmark_files as files
import pytest

from ra3.benchmarks import load_benchmark
from ra3.benchmarks.proofs import can_prove_itself, prove
from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.grading.problem_tests import CallTest, CheckedTest, JudgeTest, StdioTest
from ra3.grading.problems import Problem, load
from ra3.sandbox import Outcome, Sandbox

pytestmark = pytest.mark.usefixtures("own_cache")


def task(number: int, solution: str, test: str) -> dict:
    """A row of HumanEval."""
    return {
        "task_id": f"HumanEval/{number}", "prompt": "def f(x):\n", "canonical_solution": solution, "entry_point": "f",
        "test": f"def check(candidate):\n{test}",
    }  # fmt: skip


DISPROVED = {
    "works in place": ("    x.sort()\n", "    l = [3, 1]\n    candidate(l)\n    assert l == [1, 3]\n", "wrong_answer"),
    "takes a function": ("    return x(3)\n", "    assert candidate(lambda v: v + 1) == 4\n", "error:TypeError"),
    "gives a generator": ("    yield x\n", "    assert list(candidate(4)) == [4]\n", "error:TypeError"),
    "gives too much": ("    return list(range(x))\n", "    assert len(candidate(300000)) == 300000\n", "output_cap"),
    "a package that is not there": (
        "    return x\n", "    import numpy\n    assert numpy.isclose(candidate(1), 1)\n", "error:ModuleNotFoundError"),
    "a test that is never done": ("    return x\n", "    while candidate(1): pass\n", "timeout"),
    "a test with a slip": ("    return x\n", "    assert candidate(1) == 1 and 1 / 0\n", "error:ZeroDivisionError"),
    "a solution with a slip": ("    return x +\n", "    for i in [1]: assert candidate(i) == i\n", "syntax"),
    "a solution of another name": ("    pass\ndel f\n", "    assert candidate(1) == 1\n", "missing_entry_point"),
    "a solution that is wrong": ("    return -x\n", "    assert candidate(1) == 1\n", "wrong_answer"),
}  # fmt: skip
PROVED = [
    ("    return x + 1\n", "    assert candidate(1) == 2\n"),
    ("    return x\n", "    assert candidate('a') in 'a'\n"),
]


def test_what_fails_its_own_reference_is_named_with_the_reason(tmp_path, one_server, monkeypatch):
    monkeypatch.setattr("ra3.benchmarks.humaneval_mbpp.CPU_S", 0.5)
    rows = [task(i, *row[:2]) for i, row in enumerate([*DISPROVED.values(), *PROVED])]
    # a solution that is no Python is refused with the row, as before
    good = [row for row in rows if row["task_id"] != "HumanEval/7"]
    problems = files.loaded(tmp_path, "humaneval", *good)
    reasons = [row[2] for i, row in enumerate(DISPROVED.values()) if i != 7]
    found = prove(problems, one_server)
    assert list(found) == [row["task_id"] for row in good[: len(reasons)]]
    for why, (name, reason) in zip(reasons, found.items(), strict=True):
        assert reason == f"its own reference fails here: {why}", name
    with pytest.raises(UserError, match="its code is no Python"):
        files.loaded(tmp_path, "humaneval", rows[7])


def test_what_was_found_is_kept_by_content(tmp_path, one_server, monkeypatch):
    problems = files.loaded(tmp_path, "humaneval", *(task(i, *row[:2]) for i, row in enumerate([*PROVED, *PROVED])))
    wrong = files.loaded(tmp_path, "humaneval", task(0, "    return 3\n", PROVED[0][1]))
    assert prove(problems, one_server) == {} and len(prove(wrong, one_server)) == 1
    with Sandbox(1, cpu_s=1.0) as other, monkeypatch.context() as patched:
        patched.setattr(Sandbox, "stream", None)
        assert prove(problems, one_server) == {} and len(prove(wrong, one_server)) == 1
        for new in (lambda: prove(problems[:3], one_server), lambda: prove(problems, other)):
            with pytest.raises(TypeError):
                new()
    for stored in (tmp_path / "cache/ra3").iterdir():
        stored.write_bytes(b'["')
    assert len(prove(wrong, one_server)) == 1


def test_a_fault_of_the_sandbox_disproves_nothing_and_is_not_kept(tmp_path, monkeypatch, one_server):
    problems = files.loaded(tmp_path, "humaneval", task(0, *PROVED[0]))
    checked = Problem("c", "", None, (CheckedTest("", "def check(*_): return False\n", "1"),))
    with monkeypatch.context() as patched:
        patched.setattr(Sandbox, "stream", lambda self, jobs, *_: ((i, Outcome("infra")) for i in range(len(jobs))))
        assert prove([*problems, checked], one_server) == {}
    assert prove([*problems, checked], one_server) == {"c": "its checker refuses its own reference output"}


def problem(*references: str, **meta: float) -> Problem:
    """A problem with these references."""
    return Problem("a", "", "f", (CallTest((1,), 2),), meta={"references": list(references), **meta})


def test_any_reference_will_do():

    right, wrong, slow = "def f(x): return 2 * x\n", "def f(x): return x\n", "def f(x):\n    while x: pass\n"
    with Sandbox(1, cpu_s=0.2) as sandbox:
        assert prove([problem(right)], sandbox) == prove([problem(slow, wrong, right)], sandbox) == {}
        assert prove([problem(slow, wrong)], sandbox) == {"a": "its own reference fails here: timeout"}


@pytest.mark.parametrize(("cpu_s", "found"), [
    (0.05, {}), (0.45, {"a": 1.2}), (0.9, {"a": 2.4}), (1.5, {"a": "its own reference fails here: timeout"}),
])  # fmt: skip
def test_programs_get_twice_the_time_in_which_a_reference_passes(cpu_s, found):
    slow = f"import time\ndef f(x):\n    while time.process_time() < {cpu_s}: pass\n    return 2 * x\n"
    with Sandbox(1, cpu_s=5.0) as sandbox:
        assert prove([problem(slow, cpu_s=0.6)], sandbox) == found


CHECKERS = {
    "pathlib": "from pathlib import Path\nn, out = (Path(sys.argv[i]).read_text() for i in (1, 3))\n",
    "bytes of a path": "from pathlib import Path\nn, out = (Path(sys.argv[i]).read_bytes() for i in (1, 3))\n",
    "io.open": "import io\nn, out = (io.open(sys.argv[i]).read() for i in (1, 3))\n",
    "codecs.open": "import codecs\nn, out = (codecs.open(sys.argv[i], 'r', 'utf-8').read() for i in (1, 3))\n",
    "fileinput": "import fileinput\nn, out = (''.join(fileinput.input(sys.argv[i])) for i in (1, 3))\n",
    "a with": "with open(sys.argv[1], 'rb') as a, open(sys.argv[3], encoding='utf-8') as b:\n"
    "    n, out = a.read(), b.read()\n",
    "slower than programs may be": "import time\nn, out = (open(sys.argv[i]).read() for i in (1, 3))\n"
    "while time.process_time() < 0.8: pass\n",
    "a byte order mark": "\ufeffn, out = (open(sys.argv[i]).read() for i in (1, 3))\n",
}  # fmt: skip
DECIDE = "print(int(sum(map(int, out.split())) == int(n)))\n"
REFUSED = {
    "a package that is not there": ("import numpy\n", "fails on its own reference output: ModuleNotFoundError"),
    "a file that is not there": ("open('tests.txt')\n", "fails on its own reference output: "),
    "never done": ("while True: pass\n", "fails on its own reference output: timeout"),
    "says no": ("print(0)\n", "refuses its own reference output"),
    "says nothing": ("import sys\n", "refuses its own reference output"),
}  # fmt: skip


def forces(checker: str, **more) -> dict:
    """A row of Codeforces."""
    return {**files.FORCES, "generated_checker": checker, **more}


@pytest.mark.parametrize("name", CHECKERS)
def test_checkers_open_their_files_as_they_like(tmp_path, one_server, name):
    row = forces(mark_first(f"import sys\n{CHECKERS[name]}{DECIDE}"), time_limit=0.1)
    (problem,) = files.loaded(tmp_path, "codeforces", row)
    assert prove([problem], one_server) == {}
    verdicts = grade(one_server, [(problem, f"```py\nprint({out}, input())\n```") for out in ("0", "1", "'x'")])
    assert [v.reason for v in verdicts] == ["passed", "wrong_answer", "checker_failed"]


def mark_first(source: str) -> str:
    """The source with its byte order mark, if it has one, at the beginning."""
    return "\ufeff" * ("\ufeff" in source) + source.replace("\ufeff", "")


@pytest.mark.parametrize("name", REFUSED)
def test_a_checker_that_cannot_judge_leaves_its_problem_out(tmp_path, name, monkeypatch):
    source, why = REFUSED[name]
    monkeypatch.setattr("ra3.grading.grade.CHECKER_CPU_S", 0.2)
    (problem,) = files.loaded(tmp_path, "codeforces", forces(source, time_limit=0.1))
    with Sandbox(1) as sandbox:
        assert prove([problem], sandbox)[problem.id].startswith(f"its checker {why}")


@pytest.mark.parametrize("source", ["int main() { return 0; }", "print(1", "\0", "def f():\n\treturn\n        x\n"])
def test_a_checker_that_is_no_python_leaves_its_problem_out(tmp_path, source):
    path = files.write(tmp_path / "rows.jsonl", forces(source), forces("", id="1/C"))
    found = load_benchmark(f"codeforces:{path}")
    assert [p.id for p in found.problems] == ["1/C"] and found.left_out["1/B"].startswith("its checker is no Python: ")
    with pytest.raises(UserError, match="no problem that can be graded"):
        files.loaded(tmp_path, "codeforces", forces(source))


def test_a_checker_reads_megabytes_that_its_reference_does_not_have(tmp_path, one_server):
    source = "import sys\nn, out = (open(sys.argv[i]).read() for i in (1, 3))\nprint(int(len(out) % int(n) == 0))\n"
    tests = [{"input": "3\n", "output": "abc"}]
    (problem,) = files.loaded(tmp_path, "codeforces", forces(source, official_tests=tests))
    sizes = {2_500_002: "passed", 2_500_000: "wrong_answer", 20_000_001: "output_cap"}
    answers = [(problem, f"```py\nimport sys\nsys.stdout.write('a' * {size})\n```") for size in sizes]
    assert prove([problem], one_server) == {}
    assert [v.reason for v in grade(one_server, answers)] == list(sizes.values())


def test_solutions_of_contests_are_references(tmp_path, one_server):
    right, wrong, old = "print(sum(map(int, input().split())))", "print(3)", "print sum(map(int, raw_input().split()))"
    solutions = {"language": [2, 1, 3, 3], "solution": ["int main() {}", old, wrong, right]}
    only_wrong = {"language": [3], "solution": [wrong]}
    named = {"a": solutions, "b": only_wrong, "c": None}
    rows = [{**files.CONTESTS, "name": name, "solutions": found} for name, found in named.items()]
    problems = files.loaded(tmp_path, "codecontests", *rows)
    assert [p.meta.get("references") for p in problems] == [[wrong, right], [wrong], None]
    assert prove(problems, one_server) == {"b": "its own reference fails here: wrong_answer"}
    written = ["def size(word): return 3", old, "def size(word): return len(word)"]
    (apps,) = files.loaded(tmp_path, "apps", {**files.APPS, "solutions": json.dumps(written)})
    assert apps.meta["references"] == [written[0], written[2]] and prove([apps], one_server) == {}
    for bad in ("{", "[1]", '"x"'):
        with pytest.raises(UserError, match="rows.jsonl.gz:1: 'solutions'"):
            files.loaded(tmp_path, "apps", {**files.APPS, "solutions": bad})


def test_a_reference_of_a_plus_set_that_fails_leaves_its_problem_out(tmp_path):
    bad = {**files.HUMANEVAL_PLUS, "task_id": "HumanEval/1", "base_input": [[None]]}
    found = load_benchmark(f"humaneval+:{files.write(tmp_path / 'rows.jsonl', files.HUMANEVAL_PLUS, bad)}")
    assert len(found.problems) == 1
    assert found.left_out == {"HumanEval/1": "its own reference fails here: TypeError"}


def test_a_file_of_problems_may_carry_references(tmp_path, one_server):
    row = {"id": "a", "prompt": "", "entry_point": "f", "tests": [{"args": [1], "expected": 2}]}
    meta = {"references": ["def f(x): return x + 1\n"]}
    path = files.write(tmp_path / "p.jsonl", {**row, "meta": meta}, {**row, "id": "b"})
    problems = load(path)
    assert [can_prove_itself(p) for p in problems] == [True, False]
    assert prove(problems, one_server) == {}
    for bad in ("def f(x): ...", [3], {"a": 1}):
        files.write(path, {**row, "meta": {"references": bad}})
        with pytest.raises(UserError, match="meta references that are no list of programs"):
            load(path)


def test_what_can_prove_itself():
    asked = "def check(*_): return True\n"
    assert not can_prove_itself(Problem("a", "", None, (StdioTest("", "1"),)))
    assert not can_prove_itself(Problem("a", "", None, (CheckedTest("", asked),)))
    assert can_prove_itself(Problem("a", "", None, (CheckedTest("", asked), CheckedTest("", asked, "1"))))
    assert can_prove_itself(Problem("a", "", "f", (JudgeTest("f()"),), meta={"references": ["f = int\n"]}))


def test_left_out_in_terminal_and_results(tmp_path):
    from test_samples import ra3

    bad = task(0, "    return x\n", "    import numpy\n    numpy.sum(candidate(1))\n")
    files.write(tmp_path / "he.jsonl", bad, task(1, *PROVED[0]))
    rows = [{"task_id": f"HumanEval/{i}", "completion": f"    return x + {i}\n"} for i in range(2)]
    files.write(tmp_path / "samples.jsonl", *rows)
    words = ["eval", "--bench", "humaneval:he.jsonl", "--samples", "samples.jsonl", "--name", "graded"]
    result = ra3(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    why = "its own reference fails here: error:ModuleNotFoundError"
    assert f"left out HumanEval/0: {why}" in result.stdout and "1 of 2 problems are left out" in result.stdout
    results = json.loads((tmp_path / "runs/graded/results.json").read_text())
    assert results["left_out"] == {"HumanEval/0": why}
    assert [(row["mean"], row["problems"]) for row in results["rows"]] == [(1.0, 1)]
    environment = json.loads((tmp_path / "runs/graded/environment.json").read_text())
    assert environment["left_out"] == results["left_out"] and os.listdir(tmp_path / "cache/ra3")
    assert ra3(tmp_path, *words, "--resume").returncode == 0
