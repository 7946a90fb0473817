"""Word problems with solutions in which a written plan pays exactly where chains of quantities are long.

A page is a context of facts in random order and some questions with their solutions, one sentence a line::

    The big hats are 7.                                context: facts that form chains; old pens -> red cups -> big hats
    The old pens are the red cups doubled.             has length 2 (its steps), and some facts that lead elsewhere
    The red cups are the big hats and 3 more.
    How many old pens are there?                       text: the question names the end of a chain ...
    # old pens from red cups from big hats from 7.     ... the intention: a plan, from the end back to what is given ...
    The red cups are the big hats and 3 more, so big hats: 7 + 3 = 10 red cups.
    The old pens are the red cups doubled, so red cups: 10 * 2 = 20 old pens.    ... and the steps, from what is given

Each link of the plan is one trivial look-up in writing; a transformer of few layers cannot follow a long chain back in
the one pass it has before the first step. At later steps several facts build on the last quantity, and only the plan
tells which of them leads to the question.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

from ra3.grading.derivation import RELATIONS, Fact, solution, worked_out
from ra3.grading.problem_tests import DerivationTest
from ra3.seeds import derive
from ra3.worlds.world import Chain, Exercise, Level, Page, World, word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

KINDS = ("red", "old", "big", "new", "wet", "hot", "dry", "raw")
THINGS = ("cups", "pens", "hats", "keys", "maps", "nets", "pots", "toys")
NAMES = tuple(map(" ".join, product(KINDS, THINGS)))  # 64 quantities, each one token
OLD = ("more", "fewer", "doubled", "halved")
NEW = ("tripled", "together", "without")
LARGEST = 24
USELESS = ("# now the next.\n", "# so it goes on.\n")
LEVELS = {
    "pretrain": Level((1, 1, 2, 2, 3), OLD, (2, 3), branches=(2, 3), commented=0.4, useless=0.02),
    "expert": Level((1, 2, 3, 4), OLD + NEW, (2, 4), branches=(2, 3)),
    "known": Level((1, 2), OLD, (1, 1), unused=(2, 3), branches=(1, 1)),
    "edge": Level((1, 2, 3, 4), OLD + NEW, (1, 1), unused=(2, 3), branches=(1, 1)),
    "hard": Level((5, 6), OLD + NEW, (1, 1), unused=(2, 3), branches=(1, 1)),
}


def page(level: Level, seed: int) -> Page:
    """Draw the page that a seed makes at a level; chains and branches beside its questions use any relation."""
    rng = random.Random(seed)
    questions = rng.randint(*level.exercises)
    lengths = [rng.choice(level.lengths) for _ in range(questions + rng.randint(*level.unused))]
    branches = rng.randint(*level.branches)
    names = iter(rng.sample(NAMES, sum(lengths) + len(lengths) + branches))
    chains = [tuple(next(names) for _ in range(length + 1)) for length in lengths]
    facts = _Facts(rng)
    for chain in chains:
        facts.give(chain[-1])
    for number, chain in enumerate(chains):
        for base, name in zip(chain[::-1], chain[-2::-1], strict=False):
            facts.build(name, base, level.kinds if number < questions else OLD + NEW)
    for _ in range(branches):
        facts.build(next(names), rng.choice(rng.choice(chains[:questions])), OLD + NEW)
    order = rng.sample(sorted(facts.stated), len(facts.stated))
    commented = [rng.random() < level.commented for _ in range(questions)]
    exercises = (
        Exercise(question(chain), chain, plan_line(chain, facts.stated), _steps(chain, facts.stated), written)
        for chain, written in zip(chains[:questions], commented, strict=True)
    )
    context = "".join(facts.stated[name].sentence for name in order)
    return Page(context, tuple(exercises), derive(seed, "rest"))


class _Facts:
    """The facts of a page while it is drawn: every number is whole and at most LARGEST."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.stated: dict[str, Fact] = {}
        self.known: dict[str, int] = {}

    def give(self, name: str) -> None:
        """State a number between 2 and 12."""
        self.stated[name] = Fact(name, number=self.rng.randint(2, 12))
        self.known[name] = self.stated[name].number

    def build(self, name: str, base: str, relations: tuple[str, ...]) -> None:
        """State how ``name`` follows from ``base``, by one of the relations that fits."""
        given = [other for other, fact in self.stated.items() if not fact.base and other != base]
        while name not in self.stated:
            relation = self.rng.choice(relations)
            kind = RELATIONS[relation].operand
            operand = self.rng.choice(given) if kind == "quantity" else str(self.rng.randint(1, 9))
            fact = Fact(name, base, relation, operand if "{}" in RELATIONS[relation].words else "")
            try:
                result = worked_out(fact, self.known).result
            except ValueError:
                continue
            if 1 <= result <= LARGEST:
                self.stated[name], self.known[name] = fact, result


def question(chain: Chain) -> str:
    """Write the line that asks for the end of a chain."""
    return f"How many {chain[0]} are there?\n"


def plan_line(chain: Chain, facts: Mapping[str, Fact]) -> str:
    """Write the true intention of a solution, its chain and the number given: ``"# red cups from big hats from 7.\\n"``
    for the chain ``("red cups", "big hats")``."""
    return f"# {' from '.join((*chain, str(facts[chain[-1]].number)))}.\n"


def _steps(chain: Chain, facts: Mapping[str, Fact]) -> tuple[str, ...]:
    return tuple(step.sentence for step in solution(facts, chain[0]))


def task(drawn: Page) -> tuple[None, tuple[DerivationTest, ...], dict[str, str]]:
    """Ask for a derivation of the question of a page from its facts."""
    return None, (DerivationTest(tuple(drawn.context.splitlines()), drawn.exercises[0].chain[0]),), {}


def answer(drawn: Page) -> tuple[str, str]:
    """Give how the last sentence of the solution begins, and how it goes on: ``("\\nThe red cups", " are the big hats
    doubled, so big hats: 7 * 2 = 14 red cups.\\n")``."""
    (exercise,) = drawn.exercises
    start = f"The {exercise.chain[0]}"
    return f"\n{start}", exercise.steps[-1].removeprefix(start)


def tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: ``#``, newline, full stop, ``", so"``, numbers up to 99 and names stand alone."""
    alone = rf"[#\n.]|, so| ?[0-9]{{1,2}}(?![0-9])|(?: |(?<![A-Za-z0-9]))(?:{'|'.join(NAMES)})(?![A-Za-z0-9])"
    numbers = [Fact(NAMES[0], number=number).sentence for number in range(LARGEST + 1)]
    names = [question((name,)) for name in NAMES]
    known = {NAMES[1]: 2, NAMES[2]: 2}
    operands = {"number": "2", "quantity": NAMES[2]}
    facts = [Fact(NAMES[0], NAMES[1], key, operands.get(r.operand, "")) for key, r in RELATIONS.items()]
    lines = [line for fact in facts for line in (fact.sentence, worked_out(fact, known).sentence)]
    plan = plan_line(NAMES[:2], {NAMES[1]: Fact(NAMES[1], number=2)})
    return word_tokenizer(alone, (*numbers, *names, *lines, plan, *USELESS))


world = World(
    name="word-problems", first_name="chains", levels=LEVELS, steps="sentence", stop="\nHow ", useless=USELESS,
    page=page, task=task, tokenizer=tokenizer, answer=answer,
)  # fmt: skip
