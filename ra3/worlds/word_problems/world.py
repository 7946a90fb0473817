"""The world of word problems: solutions in which a written plan pays exactly where chains of quantities are long.

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
tells which of them leads to the question. Knobs and splits are as in ``ra3.worlds.functions.world``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ra3.grading.derivation import RELATIONS, Fact, solution, worked_out
from ra3.seeds import derive
from ra3.worlds.pages import documents_of, page_lines, problems_of

if TYPE_CHECKING:
    from ra3.data.documents import Document
    from ra3.grading.problems import Problem

KINDS = ("red", "old", "big", "new", "wet", "hot", "dry", "raw")
THINGS = ("cups", "pens", "hats", "keys", "maps", "nets", "pots", "toys")
NAMES = tuple(f"{kind} {thing}" for kind in KINDS for thing in THINGS)  # 64 quantities, each one token
OLD = ("more", "fewer", "doubled", "halved")
NEW = ("tripled", "together", "without")
LARGEST = 24
USELESS = ("# now the next.\n", "# so it goes on.\n")


@dataclass(frozen=True)
class Level:
    """Knobs of one kind of page. ``lengths`` and ``relations`` are drawn uniformly; repeat an entry to weigh it."""

    lengths: tuple[int, ...]  # steps from what is given to what is asked, for every chain of the page
    relations: tuple[str, ...]  # how the quantities of a solution follow from each other; other facts use any
    questions: tuple[int, int]  # fewest and most questions
    unused: tuple[int, int] = (1, 2)  # fewest and most chains no question asks for
    branches: tuple[int, int] = (2, 3)  # fewest and most facts that build on a quantity of a chain and lead nowhere
    commented: float = 0.0  # share of solutions that carry their plan, whatever the chain's length
    useless: float = 0.0  # share of other lines that carry a comment saying nothing


LEVELS = {
    "pretrain": Level((1, 1, 2, 2, 3), OLD, (2, 3), commented=0.4, useless=0.02),
    "expert": Level((1, 2, 3, 4), OLD + NEW, (2, 4)),
    "known": Level((1, 2), OLD, (1, 1), unused=(2, 3), branches=(1, 1)),
    "edge": Level((1, 2, 3, 4), OLD + NEW, (1, 1), unused=(2, 3), branches=(1, 1)),
    "hard": Level((5, 6), OLD + NEW, (1, 1), unused=(2, 3), branches=(1, 1)),
}
BANDS = ("known", "edge", "hard")
Chain = tuple[str, ...]
"""Quantities from what is asked back to what is given."""


@dataclass(frozen=True)
class Page:
    """One page before it becomes a document or a problem."""

    facts: dict[str, Fact]  # in the order of the context
    chains: tuple[Chain, ...]  # of the questions, in order
    comments: tuple[bool, ...]  # per question: does the page's author write the plan?
    seed: int

    @property
    def context(self) -> str:
        """The facts, a line each."""
        return "".join(fact.sentence for fact in self.facts.values())


def plan_line(chain: Chain, facts: Mapping[str, Fact]) -> str:
    """The true intention of a solution: its chain and the number given, ``"# red cups from big hats from 7.\\n"``."""
    return f"# {' from '.join((*chain, str(facts[chain[-1]].number)))}.\n"


def question(chain: Chain) -> str:
    """The line that asks for the end of a chain."""
    return f"How many {chain[0]} are there?\n"


class _Facts:
    """The facts of a page while it is drawn: every number is whole and at most LARGEST."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.stated: dict[str, Fact] = {}
        self.known: dict[str, int] = {}

    def give(self, name: str) -> None:
        """States a number between 2 and 12."""
        self.stated[name] = Fact(name, number=self.rng.randint(2, 12))
        self.known[name] = self.stated[name].number

    def build(self, name: str, base: str, relations: tuple[str, ...]) -> None:
        """States how ``name`` follows from ``base``, by one of the relations that fits."""
        given = [other for other, fact in self.stated.items() if not fact.base and other != base]
        while name not in self.stated:
            relation = self.rng.choice(relations)
            kind = RELATIONS[relation].operand
            operand = self.rng.choice(given) if kind == "quantity" else str(self.rng.randint(1, 9))
            fact = Fact(name, base, relation, operand if RELATIONS[relation].stated else "")
            try:
                result = worked_out(fact, self.known).result
            except ValueError:
                continue
            if 1 <= result <= LARGEST:
                self.stated[name], self.known[name] = fact, result


def page(level: Level, seed: int) -> Page:
    """The page that ``seed`` makes at ``level``."""
    rng = random.Random(seed)
    questions = rng.randint(*level.questions)
    lengths = [rng.choice(level.lengths) for _ in range(questions + rng.randint(*level.unused))]
    branches = rng.randint(*level.branches)
    names = iter(rng.sample(NAMES, sum(lengths) + len(lengths) + branches))
    chains = [tuple(next(names) for _ in range(length + 1)) for length in lengths]
    facts = _Facts(rng)
    for chain in chains:
        facts.give(chain[-1])
    for number, chain in enumerate(chains):
        for base, name in zip(chain[::-1], chain[-2::-1], strict=False):
            facts.build(name, base, level.relations if number < questions else OLD + NEW)
    for _ in range(branches):
        facts.build(next(names), rng.choice(rng.choice(chains[:questions])), OLD + NEW)
    order = rng.sample(sorted(facts.stated), len(facts.stated))
    comments = tuple(rng.random() < level.commented for _ in range(questions))
    stated = {name: facts.stated[name] for name in order}
    return Page(stated, tuple(chains[:questions]), comments, derive(seed, "rest"))


def _lines(page: Page, useless: float) -> tuple[list[str], list[int]]:
    """The page's text line by line, and the index of the line at which each intention begins."""
    parts = (
        (
            question(chain),
            plan_line(chain, page.facts) if commented else "",
            [step.sentence for step in solution(page.facts, chain[0])],
        )
        for chain, commented in zip(page.chains, page.comments, strict=True)
    )
    return page_lines(page.seed, parts, useless, USELESS)


def document_text(page: Page, useless: float) -> str:
    """The page's questions and solutions as text, with the comments its author wrote."""
    return "".join(_lines(page, useless)[0])


def _document(split: str, seed: int, index: int) -> Document:
    from ra3.data.documents import Document

    drawn = page(LEVELS[split], derive(seed, "chains", split, index))
    lines, boundaries = _lines(drawn, LEVELS[split].useless)
    truth = {
        "boundaries": boundaries,
        "chains": [list(chain) for chain in drawn.chains],
        "comments": [plan_line(chain, drawn.facts) for chain in drawn.chains],
    }
    return Document(id=f"chains/{split}/{seed}/{index}", text="".join(lines), context=drawn.context, truth=truth)


def documents(split: str, seed: int, count: int) -> list[Document]:
    """``count`` documents of ``"pretrain"`` (some plans written) or ``"expert"`` (none, longer, new relations).

    ``truth`` holds lists aligned with the questions: ``boundaries`` (index of the step at which the intention belongs),
    ``chains`` and ``comments`` (the intention as a line, written in the text or not).
    """
    return documents_of(_document, split, seed, count)


def drill(seed: int, lengths: tuple[int, ...], entries: int = 16) -> list[tuple[str, bool]]:
    """A drill page in parts, with whether a part is worth learning: facts, then many of their chains spelled out, in
    turn with the first step of some chain where lengths differ.

    Which chain comes next is random, so only what follows its first name counts. With facts that branch off, or fewer
    chains, look-ups are not learned (docs/lab-log.md).
    """
    drawn = page(Level(lengths, OLD + NEW, (4, 6), unused=(0, 0), branches=(0, 0)), seed)
    rng = random.Random(drawn.seed)
    starts = [chain[at:] for chain in drawn.chains for at in range(len(chain) - 1)]
    parts = [(drawn.context, False)]
    steps = [solution(drawn.facts, chain[-2])[0] for chain in drawn.chains]
    taught = [step for step in steps if step.fact.relation in OLD] if len(set(lengths)) > 1 else []
    for number in range(entries):
        chain = rng.choice(starts)
        line, opening = plan_line(chain, drawn.facts), f"# {chain[0]}"
        if number % 2 and taught:
            step = rng.choice(taught)
            line, opening = step.sentence, f"The {step.fact.name}"
        parts += [(opening, False), (line.removeprefix(opening), True)]
    return parts


def _problem(split: str, band: str, seed: int, index: int) -> Problem:
    from ra3.grading.problems import DerivationTest, Problem

    drawn = page(LEVELS[band], derive(seed, "chains", split, band, index))
    (chain,) = drawn.chains
    meta = {"band": band, "chain_length": len(chain) - 1, "intention": plan_line(chain, drawn.facts).rstrip("\n")}
    return Problem(
        id=f"chains/{split}/{band}/{seed}/{index}",
        prompt=drawn.context + question(chain),
        entry_point=None,
        tests=(DerivationTest(tuple(fact.sentence.rstrip("\n") for fact in drawn.facts.values()), chain[0]),),
        stop=("\nHow ",),
        meta=meta,
    )


def problems(split: str, seed: int, count: int, band: str | None = None) -> list[Problem]:
    """``count`` problems of ``"rl"`` or ``"eval"``: all of one ``band``, or bands in turn (rl: known, edge, edge)."""
    return problems_of(_problem, BANDS, split, seed, count, band)
