"""Derivations: word problems about quantities, their solutions in sentences, and a strict verifier of every sentence.

A fact gives a quantity its number, or says how it follows from others; a step of a solution repeats the fact and works
it out::

    The big hats are 7.                                                             a number that is given
    The red cups are the big hats and 3 more.                                       a quantity that follows from another
    The red cups are the big hats and 3 more, so big hats: 7 + 3 = 10 red cups.     the step that works it out

``verdict`` reads an answer as text and runs nothing. It pays only if every line is a step that the question needs, true
to the facts, with the right numbers, after the steps it builds on, and the last quantity asked for is worked out. Lines
that begin with ``#`` are intentions and prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NAME = r"[a-z]+ [a-z]+"
NUMBER = r"(?:0|[1-9][0-9]{0,5})"
MOST = 999_999  # numbers are whole, from 0 to this


@dataclass(frozen=True)
class Relation:
    """One way in which a quantity follows from another: ``Relation("+", "and {} more")``."""

    sign: str
    words: str
    """What a fact says after the other quantity; {} is the operand."""
    operand: str = "number"
    """What the operand is: "number" or "quantity", or the number itself where the words imply it."""


RELATIONS = {
    "more": Relation("+", "and {} more"),
    "fewer": Relation("-", "less {}"),
    "doubled": Relation("*", "doubled", "2"),
    "tripled": Relation("*", "tripled", "3"),
    "halved": Relation("/", "halved", "2"),
    "together": Relation("+", "and the {} together", "quantity"),
    "without": Relation("-", "less the {}", "quantity"),
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """What a problem says of a quantity, such as ``Fact("red cups", "big hats", "more", "3")``."""

    name: str
    base: str = ""
    """The quantity it follows from; "" for one whose number is given."""
    relation: str = ""
    """A key of RELATIONS."""
    operand: str = ""
    """A number or a quantity, as written."""
    number: int = 0
    """Of a quantity that is given."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The quantities that it follows from."""
        if not self.base:
            return ()
        return (self.base, self.operand) if RELATIONS[self.relation].operand == "quantity" else (self.base,)

    @property
    def claim(self) -> str:
        """The fact without its full stop."""
        if not self.base:
            return f"The {self.name} are {self.number}"
        return f"The {self.name} are the {self.base} {RELATIONS[self.relation].words.format(self.operand)}"

    @property
    def sentence(self) -> str:
        """The fact as a line of a problem."""
        return f"{self.claim}.\n"


@dataclass(frozen=True)
class SolutionStep:
    """One fact worked out: ``worked_out(Fact("red cups", "big hats", "more", "3"), {"big hats": 7}).result == 10``."""

    fact: Fact
    sentence: str
    """A line of a solution."""
    result: int


def _patterns(relation: Relation) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Of a fact with this relation, its groups name, base and operand (empty where it is implied); and of its step."""
    operand = {"number": NUMBER, "quantity": NAME}.get(relation.operand, "")
    words = relation.words.replace("{}", f"({operand})") if operand else f"{relation.words}()"
    link, other = f"The ({NAME}) are the ({NAME}) {words}", r"\3: " if relation.operand == "quantity" else ""
    return re.compile(link), re.compile(rf"{link}, so \2: {NUMBER} [-+*/] {other}{NUMBER} = {NUMBER} \1\.")


_GIVEN = re.compile(rf"The ({NAME}) are ({NUMBER})")
_PATTERNS = {key: _patterns(relation) for key, relation in RELATIONS.items()}


def read_fact(claim: str) -> Fact | None:
    """Read the fact that a sentence without its full stop states, or None."""
    if given := _GIVEN.fullmatch(claim):
        return Fact(given[1], number=int(given[2]))
    links = ((key, link.fullmatch(claim)) for key, (link, _) in _PATTERNS.items())
    return next((Fact(found[1], found[2], key, found[3]) for key, found in links if found), None)


def worked_out(fact: Fact, known: Mapping[str, int]) -> SolutionStep:
    """Work a fact out whose sources are known. ValueError where the number is not whole or out of range."""
    relation = RELATIONS[fact.relation]
    right = known[fact.operand] if relation.operand == "quantity" else int(fact.operand or relation.operand)
    left = known[fact.base]
    exact = relation.sign != "/" or left % right == 0
    result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[relation.sign]
    if not (exact and 0 <= result <= MOST):
        raise ValueError(f"{left} {relation.sign} {right} is no whole number from 0 to {MOST}")
    other = f"{fact.operand}: " if relation.operand == "quantity" else ""
    working = f"{fact.base}: {left} {relation.sign} {other}{right} = {result} {fact.name}"
    return SolutionStep(fact, f"{fact.claim}, so {working}.\n", result)


def facts_by_name(sentences: Iterable[str]) -> dict[str, Fact]:
    """The facts of a problem by quantity. ValueError for a sentence that is no fact, or a quantity stated twice."""
    found: dict[str, Fact] = {}
    for sentence in sentences:
        fact = read_fact(sentence.removesuffix("\n").removesuffix("."))
        if fact is None or fact.sentence.rstrip("\n") != sentence.removesuffix("\n"):
            raise ValueError(f"{sentence!r} is no fact")
        if fact.name in found:
            raise ValueError(f"{fact.name!r} is stated twice")
        found[fact.name] = fact
    return found


def solution(facts: Mapping[str, Fact], asked: str) -> list[SolutionStep]:
    """The steps that work ``asked`` out, each after those it builds on.

    ValueError where a quantity is not stated, follows from itself, or has no whole number.
    """
    known = {name: fact.number for name, fact in facts.items() if not fact.base}
    steps: list[SolutionStep] = []
    todo, under_way = [asked], set()
    while todo:
        name = todo[-1]
        if name not in facts:
            raise ValueError(f"nothing is said of {name!r}")
        missing = [source for source in facts[name].sources if source not in known]
        if not missing:
            todo.pop()
            if name not in known:
                steps.append(worked_out(facts[name], known))
                known[name] = steps[-1].result
        elif name in under_way:
            raise ValueError(f"{name!r} follows from itself")
        else:
            under_way.add(name)
            todo += missing
    return steps


def verdict(steps: Sequence[SolutionStep], answer: str) -> str:
    """Say why an answer is paid or not; ``steps`` is the solution. Time is linear in the length of the answer.

    passed; syntax: a line that is no step; wrong_step: a step that is false, comes before what it builds on, comes
    twice, or is not needed; wrong_answer: the quantity asked for is not worked out.
    """
    missing = {step.sentence: step for step in steps}
    for line in answer.removesuffix("\n").split("\n") if answer else ():
        if line.startswith("#"):
            continue
        step = missing.pop(f"{line}\n", None)
        if step is None and not any(step_form.fullmatch(line) for _, step_form in _PATTERNS.values()):
            return "syntax"
        if step is None or {other.fact.name for other in missing.values()} & set(step.fact.sources):
            return "wrong_step"
    return "wrong_answer" if missing else "passed"
