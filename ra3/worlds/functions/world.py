'''The embedded world: documents and problems in which a written intention pays exactly where references are long.

A page is a context of definitions in random order and some functions that use them::

    """
     ke zu               context: a glossary of references; ba -> ke -> zu -> evens has length 3
     ba ke               (its look-ups to the operation)
     zu evens
    """
    def ba(x):           text: the header names the head of a chain ...
    # ba ke zu evens     ... the intention: the chain, spelled out at column 0 (expert text has none) ...
        y = []           ... and the body is the idiom of the operation at the chain's end
        ...

Each link is one trivial look-up when written down; a transformer of few layers cannot follow a long chain in the one
pass it has before the body. Difficulty knobs (``LEVELS``): chain lengths, operations, functions and unused chains of a
page. Splits are disjoint by construction: every item has its own seed, derived from (seed, split, index).
'''

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ra3.seeds import derive
from ra3.worlds.functions.ops import BY_NAME, NEW, OLD, body
from ra3.worlds.pages import documents_of, page_lines, problems_of

if TYPE_CHECKING:
    from ra3.data.documents import Document
    from ra3.grading.problems import Problem

NAMES = tuple(c + v for c in "bdfgklmnprstv" for v in "aeiou")  # 65 syllables, each one token
USELESS = ("# loop\n", "# done\n", "# next\n")


@dataclass(frozen=True)
class Level:
    """Knobs of one kind of page. ``lengths`` and ``operations`` are drawn uniformly; repeat an entry to weigh it."""

    lengths: tuple[int, ...]  # look-ups from head to operation, for every chain of the page
    operations: tuple[str, ...]  # what the functions do
    functions: tuple[int, int]  # fewest and most functions
    unused: tuple[int, int] = (1, 2)  # fewest and most chains no function uses; they end in any operation
    commented: float = 0.0  # share of functions that carry their intention, whatever the chain's length
    useless: float = 0.0  # share of other lines that carry a comment saying nothing


LEVELS = {
    "pretrain": Level((1, 1, 2, 2, 3), OLD, (2, 4), commented=0.4, useless=0.02),
    "expert": Level((1, 2, 3, 4), OLD + NEW, (3, 5)),
    "known": Level((1, 2), OLD, (1, 1), unused=(2, 3)),
    "edge": Level((1, 2, 3, 4), OLD + 3 * NEW, (1, 1), unused=(2, 3)),
    "hard": Level((5, 6), OLD + 3 * NEW, (1, 1), unused=(2, 3)),
}
BANDS = ("known", "edge", "hard")


@dataclass(frozen=True)
class Page:
    """One page before it becomes a document or a problem."""

    context: str
    chains: tuple[tuple[str, ...], ...]  # of the functions, in order: ("ba", "ke", "zu", "evens")
    comments: tuple[bool, ...]  # per function: does the page's author write the intention?
    seed: int


def comment_line(chain: tuple[str, ...] | list[str]) -> str:
    """The true intention of a function: its chain, e.g. ``"# ba ke zu evens\\n"``."""
    return f"# {' '.join(chain)}\n"


def _chains(rng: random.Random, level: Level) -> tuple[list[tuple[str, ...]], int]:
    """Disjoint chains with distinct operations; the first ``functions`` of them are used."""
    functions = rng.randint(*level.functions)
    unused = rng.randint(*level.unused)
    operations = rng.sample(sorted(set(level.operations)), 0)
    while len(operations) < functions:
        operations += [op for op in [rng.choice(level.operations)] if op not in operations]
    operations += rng.sample([op for op in BY_NAME if op not in operations], unused)
    lengths = [rng.choice(level.lengths) for _ in operations]
    names = iter(rng.sample(NAMES, sum(lengths)))
    return [(*(next(names) for _ in range(n)), op) for n, op in zip(lengths, operations, strict=True)], functions


def _context(rng: random.Random, chains: list[tuple[str, ...]]) -> str:
    lines = [f" {name} {value}\n" for chain in chains for name, value in zip(chain, chain[1:], strict=False)]
    rng.shuffle(lines)
    return "".join(['"""\n', *lines, '"""\n'])


def page(level: Level, seed: int) -> Page:
    """The page that ``seed`` makes at ``level``."""
    rng = random.Random(seed)
    chains, functions = _chains(rng, level)
    comments = tuple(rng.random() < level.commented for _ in range(functions))
    return Page(_context(rng, chains), tuple(chains[:functions]), comments, derive(seed, "rest"))


def header(chain: tuple[str, ...]) -> str:
    """The first line of the function that carries a chain out."""
    return f"def {chain[0]}(x):\n"


def _lines(page: Page, useless: float) -> tuple[list[str], list[int]]:
    """The page's text line by line, and the index of the line at which each intention begins."""
    parts = (
        (header(chain), comment_line(chain) if commented else "", body(chain[-1]))
        for chain, commented in zip(page.chains, page.comments, strict=True)
    )
    return page_lines(page.seed, parts, useless, USELESS)


def document_text(page: Page, useless: float) -> str:
    """The page's functions as text, with the comments its author wrote."""
    return "".join(_lines(page, useless)[0])


def _document(split: str, seed: int, index: int) -> Document:
    from ra3.data.documents import Document

    drawn = page(LEVELS[split], derive(seed, "testbed", split, index))
    lines, boundaries = _lines(drawn, LEVELS[split].useless)
    truth = {
        "boundaries": boundaries,
        "chains": [list(chain) for chain in drawn.chains],
        "ops": [chain[-1] for chain in drawn.chains],
        "comments": [comment_line(chain) for chain in drawn.chains],
    }
    return Document(id=f"testbed/{split}/{seed}/{index}", text="".join(lines), context=drawn.context, truth=truth)


def documents(split: str, seed: int, count: int) -> list[Document]:
    """``count`` documents of ``"pretrain"`` (some intentions written) or ``"expert"`` (none, longer, new operations).

    ``truth`` holds lists aligned with the functions: ``boundaries`` (index of the step at which the intention belongs),
    ``chains``, ``ops`` and ``comments`` (the intention as a line, written in the text or not).
    """
    return documents_of(_document, split, seed, count)


def glossary(seed: int, lengths: tuple[int, ...] = (1, 2, 2, 3, 3), entries: int = 16) -> list[tuple[str, bool]]:
    """A drill page in parts, with whether a part is worth learning: a glossary, then many of its chains spelled out.

    An entry reads ``# ba ke zu evens``; which chain comes next is random, so only what follows its first name counts.
    """
    rng = random.Random(seed)
    chains = _chains(rng, Level(lengths, tuple(BY_NAME), (2, 4)))[0]
    starts = [chain[at:] for chain in chains for at in range(len(chain) - 1)]
    parts = [(_context(rng, chains), False)]
    for chain in (rng.choice(starts) for _ in range(entries)):
        parts += [(f"# {chain[0]}", False), (comment_line(chain).removeprefix(f"# {chain[0]}"), True)]
    return parts


def _arguments(rng: random.Random, number: int) -> list[int]:
    """The argument of test ``number``: the empty list first, then lists of 1 to 7 numbers, one of them twice."""
    if number == 0:
        return []
    values = [rng.randint(-9, 9) for _ in range(rng.randint(1, 6))]
    values.insert(rng.randint(0, len(values)), rng.choice(values))
    return values


def _problem(split: str, band: str, seed: int, index: int) -> Problem:
    from ra3.grading.problems import CallTest, Problem

    drawn = page(LEVELS[band], derive(seed, "testbed", split, band, index))
    chain, rng = drawn.chains[0], random.Random(drawn.seed)
    inputs = [_arguments(rng, number) for number in range(8)]
    tests = tuple(CallTest(args=(values,), expected=BY_NAME[chain[-1]].run(list(values))) for values in inputs)
    intention = comment_line(chain).rstrip("\n")
    meta = {"band": band, "chain_length": len(chain) - 1, "op": chain[-1], "intention": intention}
    return Problem(
        id=f"testbed/{split}/{band}/{seed}/{index}",
        prompt=drawn.context + header(chain),
        entry_point=chain[0],
        tests=tests,
        stop=("\ndef ",),
        meta=meta,
    )


def problems(split: str, seed: int, count: int, band: str | None = None) -> list[Problem]:
    """``count`` problems of ``"rl"`` or ``"eval"``: all of one ``band``, or bands in turn (rl: known, edge, edge)."""
    return problems_of(_problem, BANDS, split, seed, count, band)
