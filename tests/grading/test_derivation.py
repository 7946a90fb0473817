"""Derivations: facts and steps as text and back, solutions by hand, and a verifier that pays only right steps."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ra3.errors import UserError
from ra3.grading.derivation import (
    RELATIONS,
    Fact,
    facts_by_name,
    read_fact,
    solution,
    verdict,
    worked_out,
)
from ra3.grading.grade import Verdict, grade
from ra3.grading.problems import DerivationTest, Problem, load
from ra3.sandbox import Sandbox
from ra3.worlds.word_problems import NAMES, world

FACTS = (
    "The big hats are 7.",
    "The dry nets are 4.",
    "The red cups are the big hats and 3 more.",
    "The old pens are the red cups and the dry nets together.",
    "The new keys are the old pens halved.",
    "The hot pots are the red cups less 1.",
)
CUPS = "The red cups are the big hats and 3 more, so big hats: 7 + 3 = 10 red cups.\n"
PENS = "The old pens are the red cups and the dry nets together, so red cups: 10 + dry nets: 4 = 14 old pens.\n"
KEYS = "The new keys are the old pens halved, so old pens: 14 / 2 = 7 new keys.\n"
POTS = "The hot pots are the red cups less 1, so red cups: 10 - 1 = 9 hot pots.\n"
RIGHT = CUPS + PENS + KEYS
PROBLEM = Problem("keys", "How many new keys are there?\n", None, (DerivationTest(FACTS, "new keys"),))


def judged(answer: str, asked: str = "new keys") -> str:
    return verdict(solution(facts_by_name(FACTS), asked), answer)


def test_a_solution_by_hand():
    assert "".join(step.sentence for step in solution(facts_by_name(FACTS), "new keys")) == RIGHT


@pytest.mark.parametrize("key", RELATIONS)
def test_facts_and_steps_are_read_as_they_are_written(key):
    operand = {"number": "3", "quantity": "dry nets"}.get(RELATIONS[key].operand, "")
    fact = Fact("red cups", "big hats", key, operand)
    step = worked_out(fact, {"big hats": 12, "dry nets": 3})
    assert read_fact(fact.claim) == fact
    assert verdict([step], step.sentence) == "passed"
    assert verdict([step], step.sentence.replace(f"= {step.result} ", "= 1 ")) == "wrong_step"
    assert step.result == {"more": 15, "fewer": 9, "doubled": 24, "tripled": 36, "halved": 6, "together": 15,
                           "without": 9}[key]  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [RIGHT, RIGHT.rstrip("\n"), f"# new keys from old pens from red cups from big hats.\n{RIGHT}",
     f"{CUPS}# and then?\n{PENS}# So 1 = 2.\n{KEYS}"],
)  # fmt: skip
def test_right_answers_are_paid(answer):
    assert judged(answer) == "passed"


def test_steps_may_come_in_any_order_in_which_each_builds_on_those_before():
    facts = facts_by_name([*FACTS, "The wet maps are the big hats doubled.", "The raw toys are the wet maps less 5."])
    facts["all toys"] = Fact("all toys", "raw toys", "more", "1")
    steps = solution(facts, "all toys")
    assert verdict(steps, "".join(step.sentence for step in steps)) == "passed"
    assert verdict(steps, "".join(step.sentence for step in steps[::-1])) == "wrong_step"


WRONG = {
    "nothing": ("", "wrong_answer"),
    "only an intention": ("# new keys from old pens from red cups from big hats.\n", "wrong_answer"),
    "the answer alone": (KEYS, "wrong_step"),
    "a step left out": (CUPS + KEYS, "wrong_step"),
    "the end left out": (CUPS + PENS, "wrong_answer"),
    "out of order": (PENS + CUPS + KEYS, "wrong_step"),
    "a step twice": (CUPS + RIGHT, "wrong_step"),
    "a true step that is not needed": (CUPS + POTS + PENS + KEYS, "wrong_step"),
    "right answer, false fact": (RIGHT.replace("and 3 more", "and 4 more"), "wrong_step"),
    "right answer, wrong number": (RIGHT.replace("7 + 3 = 10", "6 + 4 = 10"), "wrong_step"),
    "right answer, wrong sign": (RIGHT.replace("7 + 3", "7 - 3"), "wrong_step"),
    "wrong sum": (RIGHT.replace("3 = 10", "3 = 11"), "wrong_step"),
    "errors that cancel": (RIGHT.replace("= 10", "= 11").replace("10 + dry nets: 4", "11 + dry nets: 3"), "wrong_step"),
    "another name for the result": (RIGHT.replace("10 red cups", "10 hot pots"), "syntax"),
    "a given fact as a step": ("The new keys are 7.\n" + RIGHT, "syntax"),
    "a fact of one's own": ("The new keys are the big hats less 0, so big hats: 7 - 0 = 7 new keys.\n", "wrong_step"),
    "a quantity of one's own": (CUPS.replace("red cups", "wet ends") + RIGHT, "wrong_step"),
    "a source that is not the fact's": (RIGHT.replace("so big hats: 7", "so dry nets: 7"), "syntax"),
    "another operand": (RIGHT.replace("+ dry nets: 4", "+ 4"), "syntax"),
    "two steps on a line": (RIGHT.replace(".\nThe old", ". The old"), "syntax"),
    "a step inside an intention": (f"# {CUPS}{PENS}{KEYS}", "wrong_step"),
    "words before": ("So: " + RIGHT, "syntax"),
    "words after": (RIGHT + "Done.\n", "syntax"),
    "an empty line": (RIGHT + "\n", "syntax"),
    "a space at the end": (RIGHT.replace(".\n", ". \n"), "syntax"),
    "a carriage return": (RIGHT.replace("\n", "\r\n"), "syntax"),
    "a line separator": (CUPS + PENS.replace("\n", "\u2028") + KEYS, "syntax"),
    "leading zeros": (RIGHT.replace("7 + 3", "07 + 3"), "syntax"),
    "other digits": (RIGHT.replace("7 + 3", "٧ + 3"), "syntax"),
    "a sign too much": (RIGHT.replace("7 + 3", "+7 + 3"), "syntax"),
    "a number without end": (RIGHT.replace("7 + 3", "7" * 100_000 + " + 3"), "syntax"),
    "a program": ("import os; os._exit(0)\n", "syntax"),
    "a null byte": (RIGHT + "\0", "syntax"),
    "capitals": (RIGHT.replace("red cups", "Red cups"), "syntax"),
    "a name of three words": (RIGHT.replace("so big hats", "so so big hats"), "syntax"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_nothing_else_is_paid(name):
    answer, reason = WRONG[name]
    assert judged(answer) == reason


@given(st.lists(st.sampled_from([CUPS, PENS, KEYS, POTS, "# a plan.\n", "\n", "The ", "so 7 + 3", "."])), st.text())
@example([CUPS, PENS, KEYS], "")
def test_what_is_paid_is_the_solution_and_intentions(pieces, other):
    for answer in ("".join(pieces), "".join(pieces) + other, other):
        steps = [line for line in answer.splitlines(keepends=True) if not line.startswith("#")]
        assert judged(answer) != "passed" or "".join(steps).rstrip("\n") == RIGHT.rstrip("\n")


def test_long_answers_take_linear_time():
    start = time.process_time()
    for piece in ("a", "The a", "a ", "There are ", "7", "\n", "#", ", so ", CUPS):
        assert judged(piece * (1_000_000 // len(piece))) != "passed"
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("facts", "asked", "message"),
    [
        (FACTS, "big cats", "nothing is said of 'big cats'"),
        (FACTS, "big hats", "whose answer is stated"),
        (FACTS + FACTS[:1], "new keys", "stated twice"),
        (("The red cups are the big hats halved.", "The big hats are the red cups halved."), "red cups", "from itself"),
        (("The big hats are 3.", "The red cups are the big hats halved."), "red cups", "no whole number"),
        (("The big hats are 3.", "The red cups are the big hats less 4."), "red cups", "no whole number"),
        (("There are lots of hats.",), "red cups", "is no fact"),
        (("The big hats are 3. ",), "big hats", "is no fact"),
        ((3,), "red cups", "no text"),
    ],
)  # fmt: skip
def test_questions_without_an_answer_are_no_problems(facts, asked, message):
    with pytest.raises(UserError, match=message):
        Problem("a", "", None, (DerivationTest(facts, asked),))


def test_an_answer_in_sentences_has_no_code_around_it():
    with pytest.raises(UserError, match="adds code"):
        Problem("a", "", None, PROBLEM.tests, suffix="pass")
    with pytest.raises(UserError, match="has answer = 'fenced'"):
        Problem("a", "", None, PROBLEM.tests, answer="fenced")
    with pytest.raises(UserError, match="entry point"):
        Problem("a", "", "f", PROBLEM.tests)


def test_it_is_graded_on_the_path_of_programs(tmp_path):
    (tmp_path / "p.jsonl").write_text(
        '{"id": "keys", "prompt": "How many new keys are there?\\n", "tests": [{"facts": ['
        + ", ".join(f'"{fact}"' for fact in FACTS) + '], "asked": "new keys"}]}\n'
    )  # fmt: skip
    assert load(tmp_path / "p.jsonl") == [PROBLEM]
    (program,) = world_one()
    with Sandbox(1) as sandbox:
        found = grade(sandbox, [(PROBLEM, RIGHT), (program, "    return 1\n"), (PROBLEM, KEYS), (PROBLEM, "x")])
    assert found[0] == Verdict(True, "passed", 0.0)
    assert [(v.passed, v.reason) for v in found[1:]] == [
        (False, "wrong_answer"), (False, "wrong_step"), (False, "syntax"),
    ]  # fmt: skip


def world_one() -> list[Problem]:
    from ra3.grading.problems import CallTest

    return [Problem("two", "def two():\n", "two", (CallTest((), 2),))]


def test_a_step_is_what_its_docstring_says():
    step = worked_out(Fact("red cups", "big hats", "more", "3"), {"big hats": 7})
    assert (step.result, step.sentence) == (10, CUPS)
    assert world.problems("eval", 0, 1)[0].tests[0].asked in NAMES  # type: ignore[union-attr]
