"""Tools in text: what turns call, what comes back, what is found, and what problems with tools look like in a file."""

from __future__ import annotations

import json
import math

import pytest

from ra3.environments import Environment
from ra3.environments.search import Search
from ra3.environments.tools import ERROR
from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.grading.problem_tests import AnswerTest
from ra3.grading.problems import Problem, load
from ra3.sandbox import Sandbox

DOCUMENTS = ("Ann has 17 cups.", "Bob has 12 cups.", "Ann has 3 pens.")


def problem(**more) -> Problem:
    """A question whose answer is 29."""
    own = {"tools": ("python", "search"), "documents": DOCUMENTS, "cue": "<answer>", **more}
    return Problem("q", "How many cups?\n", None, (AnswerTest("29"),), ("</answer>",), **own)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(1, cpu_s=0.5) as made:
        yield made


def test_what_turns_call_comes_back_and_an_answer_ends_the_episode(sandbox):
    environment = Environment(sandbox.run)
    assert environment.reset([problem()] * 8) == ["How many cups?\n"] * 8
    came = environment.step({
        0: "I look.\n<search>ann cups</search>", 1: "<python>\n  x = 17\n  print(x + 12)\n</python>\n",
        2: "<python>```python\nprint(1)\n```</python>", 3: "<python>print(y)</python>", 4: "<python>1 +</python>",
        5: "no call </search>", 6: "<answer>29", 7: "<python>print('</output><answer>')</python>",
    })  # fmt: skip
    assert came == {
        0: "\n<information>Ann has 17 cups.\nBob has 12 cups.\nAnn has 3 pens.</information>",
        1: "\n<output>29</output>", 2: "\n<output>1</output>", 3: "\n<error>NameError</error>",
        4: "\n<error>syntax</error>", 5: "\n<error>a call without <search></error>",
        7: "\n<output></output><answer></output>",
    }  # fmt: skip
    assert sorted(own for own, text in came.items() if text.startswith(ERROR)) == [3, 4, 5]


def test_a_program_is_hostile_and_its_output_is_cut(sandbox):
    environment = Environment(sandbox.run)
    environment.reset([problem(meta={"max_characters": 5}), problem()])
    came = environment.step({
        0: "<python>print('x' * 100)</python>", 1: "<python>open('/etc/passwd')</python>",
    })  # fmt: skip
    assert came == {0: "\n<output>xxxxx</output>", 1: "\n<error>PermissionError</error>"}
    assert environment.step({1: "<python>while True: pass</python>"}) == {1: "\n<error>timeout</error>"}


def test_an_episode_has_so_many_turns(sandbox):
    environment = Environment(sandbox.run)
    environment.reset([problem(meta={"max_turns": 2})])
    assert 0 in environment.step({0: "<search>Ann</search>"})
    assert environment.step({0: "<search>Ann</search>"}) == {0: None}


def test_a_search_ranks_by_bm25():
    index = Search(["a b", "a c c", "d"])
    assert index.best("c", 3) == ["a c c"] and index.best("A", 3) == ["a b", "a c c"] and index.best("", 3) == []
    assert index.best("a d", 1) == ["d"], "a rarer word says more"
    mean, idf = 2.0, math.log(1 + 1.5 / 2.5)  # of a: two of three documents have it
    short, long = (idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * size / mean)) for size in (2, 3))
    assert math.isclose(idf, 0.4700, abs_tol=1e-4) and math.isclose(short, 0.4700, abs_tol=1e-4) and long < short
    assert index.scores("a") == pytest.approx({0: short, 1: long})


def test_an_answer_is_what_stands_behind_the_last_cue(sandbox):
    own, reply = problem(), problem(answer="reply", cue="Answer:")
    tried = [(own, "\n<answer>29\n"), (own, "29"), (own, "<answer>29<answer> 30"), (reply, "29. Answer:  29 ")]
    assert [verdict.passed for verdict in grade(sandbox, tried)] == [True, False, False, True]
    assert AnswerTest("New York").verdict("\nA:", "A: new  york\n") == "passed", "a turn begins a line"


def write(folder, **changes):
    """A file of one problem with tools."""
    row = {"id": "q", "prompt": "Q\n", "tests": [{"answer": "1"}], "tools": ["search"], "documents": ["x"], **changes}
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n")
    return folder / "q.jsonl"


def test_problems_with_tools_are_read_with_their_documents(tmp_path):
    (own,) = load(write(tmp_path))
    assert own.tools == ("search",) and own.documents == ("x",) and own.tests == (AnswerTest("1"),)
    (tmp_path / "facts.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (own,) = load(write(tmp_path, documents="facts.jsonl"))
    assert own.documents == ("one", "two")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tools": ["browser"]}, 'the tool "browser"'),
        ({"documents": []}, "a search without documents"),
        ({"tools": ["python"]}, "documents that nothing searches"),
        ({"documents": [1]}, "documents"),
        ({"documents": "none.jsonl"}, "none.jsonl"),
        ({"meta": {"max_turns": 0}}, "max_turns"),
        ({"answer": "fenced"}, "answer = 'fenced'"),
        ({"tests": [{"answer": " "}]}, "an answer ' '"),
        ({"prefix": "x = 1"}, "adds code"),
    ],
)
def test_a_problem_whose_tools_do_not_fit_is_refused_with_its_place(tmp_path, changes, said):
    with pytest.raises(UserError) as refused:
        load(write(tmp_path, **changes))
    assert said in str(refused.value) and "jsonl" in str(refused.value)
