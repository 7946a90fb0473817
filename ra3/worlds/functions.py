'''Documents and problems in which a written intention pays exactly where references are long.

A page is a context of definitions in random order and some functions that use them::

    """
     ke zu               context: a glossary of references; ba -> ke -> zu -> evens has length 3
     ba ke               (its look-ups to the operation)
     zu evens
    """
    def ba(x):           text: the header names the head of a chain ...
        # ba ke zu evens ... the intention: the chain, spelled out (expert text has none) ...
        y = []           ... and the body is the idiom of the operation at the chain's end
        ...

Each link is one trivial look-up when written down; a transformer of few layers cannot follow a long chain in the one
pass it has before the body. Idioms come in families that share their first lines (``LOOP`` opens nine of them), so the
line that tells operations apart comes late and an intention has to last for several lines. A function's name never
helps. The new operations put known lines together in ways that pre-training never showed; in
its documents a function of a new operation does what some old one does, so that a base model has no idea of it, and not
a wrong one.
'''

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ra3.grading.problem_tests import CallTest
from ra3.seeds import derive
from ra3.worlds.world import Chain, Exercise, Level, Page, World, word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LOOP = ("y = []", "for v in x:")
FOLD = ("s = 0", "for v in x:")
GUARD = ("if not x:", "    return 0")
SORTED = ("y = sorted(x)",)
COPY = ("y = list(x)",)


@dataclass(frozen=True)
class Operation:
    """One operation: ``lines`` is the function body without its indentation, ``run`` the trusted meaning."""

    name: str
    lines: tuple[str, ...]
    run: Callable[[list[int]], list[int] | int]
    new: bool = False  # True: pre-training names it and never shows the idiom


def _keep(condition: str, *also: str) -> tuple[str, ...]:
    """Collects the elements that pass, and after each element of the argument the values ``also``."""
    always = (f"    y.append({value})" for value in also)
    return (*LOOP, f"    if {condition}:", "        y.append(v)", *always, "return y")


def _map(*values: str) -> tuple[str, ...]:
    return (*LOOP, *(f"    y.append({value})" for value in values), "return y")


def _fold(value: str) -> tuple[str, ...]:
    return (*FOLD, f"    s += {value}", "return s")


OPERATIONS = (
    Operation("evens", _keep("v % 2 == 0"), lambda x: [v for v in x if v % 2 == 0]),
    Operation("odds", _keep("v % 2 == 1"), lambda x: [v for v in x if v % 2 == 1]),
    Operation("positives", _keep("v > 0"), lambda x: [v for v in x if v > 0]),
    Operation("dedupe", _keep("v not in y"), lambda x: list(dict.fromkeys(x))),
    Operation("double", _map("v + v"), lambda x: [v + v for v in x]),
    Operation("square", _map("v * v"), lambda x: [v * v for v in x]),
    Operation("negate", _map("-v"), lambda x: [-v for v in x]),
    Operation("succ", _map("v + 1"), lambda x: [v + 1 for v in x]),
    Operation("total", _fold("v"), sum),
    Operation("length", _fold("1"), len),
    Operation("largest", (*GUARD, "return max(x)"), lambda x: max(x, default=0)),
    Operation("last", (*GUARD, "return x[-1]"), lambda x: x[-1] if x else 0),
    Operation("sort", (*SORTED, "return y"), sorted),
    Operation("lowest", (*SORTED, "return y[:1]"), lambda x: sorted(x)[:1]),
    Operation("flip", (*COPY, "return y[::-1]"), lambda x: x[::-1]),
    Operation("rest", (*COPY, "return y[1:]"), lambda x: x[1:]),
    Operation("descend", (*SORTED, "return y[::-1]"), lambda x: sorted(x, reverse=True), new=True),
    Operation("trim", (*SORTED, "return y[1:]"), lambda x: sorted(x)[1:], new=True),
    Operation("first", (*COPY, "return y[:1]"), lambda x: x[:1], new=True),
    Operation("tally", (*FOLD, "    s += v", "    s += 1", "return s"), lambda x: sum(x) + len(x), new=True),
    Operation("mirror", _map("v + 1", "-v"), lambda x: [w for v in x for w in (v + 1, -v)], new=True),
    Operation("fan", _map("v * v", "v + v"), lambda x: [w for v in x for w in (v * v, v + v)], new=True),
    Operation("echo", _keep("v > 0", "-v"), lambda x: [w for v in x for w in ((v, -v) if v > 0 else (-v,))], new=True),
    Operation("stutter", _keep("v % 2 == 0", "v + 1"),
              lambda x: [w for v in x for w in ((v, v + 1) if v % 2 == 0 else (v + 1,))], new=True),
)  # fmt: skip
BY_NAME = {operation.name: operation for operation in OPERATIONS}
OLD = tuple(operation.name for operation in OPERATIONS if not operation.new)
NEW = tuple(operation.name for operation in OPERATIONS if operation.new)


def body(name: str) -> tuple[str, ...]:
    """The lines of operation ``name`` as they stand in a function: indented by four spaces, each with its newline."""
    return tuple(f"    {line}\n" for line in BY_NAME[name].lines)


NAMES = tuple(c + v for c in "bdfgklmnprstv" for v in "aeiou")  # 65 syllables, each one token
USELESS = ("# loop\n", "# done\n", "# next\n")
LEVELS = {
    "pretrain": Level((1, 1, 2, 2, 3), 4 * OLD + NEW, (2, 4), unknown=NEW, commented=0.4, useless=0.02),
    "expert": Level((1, 2, 3, 4), OLD + NEW, (3, 5)),
    "known": Level((1, 2), OLD, (1, 1), unused=(2, 3)),
    "edge": Level((1, 2, 3, 4), OLD + 3 * NEW, (1, 1), unused=(2, 3)),
    "hard": Level((5, 6), OLD + 3 * NEW, (1, 1), unused=(2, 3)),
}


def page(level: Level, seed: int) -> Page:
    """Draw the page that a seed makes at a level."""
    rng = random.Random(seed)
    chains, functions = draw_chains(rng, level)
    commented = [rng.random() < level.commented for _ in range(functions)]
    context, guess = glossary(rng, chains), random.Random(derive(seed, "guess"))
    done = [guess.choice(OLD) if chain[-1] in level.unknown else chain[-1] for chain in chains[:functions]]
    exercises = (
        Exercise(header(chain), chain, comment_line(chain), body(operation), written)
        for chain, operation, written in zip(chains[:functions], done, commented, strict=True)
    )
    return Page(context, tuple(exercises), derive(seed, "rest"))


def draw_chains(rng: random.Random, level: Level) -> tuple[list[Chain], int]:
    """Draw disjoint chains with distinct operations; say how many of them, from the first on, are used by functions."""
    functions, unused = rng.randint(*level.exercises), rng.randint(*level.unused)
    operations: list[str] = []
    while len(operations) < functions:
        operations += [op for op in [rng.choice(level.kinds)] if op not in operations]
    operations += rng.sample([op for op in BY_NAME if op not in operations], unused)
    lengths = [rng.choice(level.lengths) for _ in operations]
    names = iter(rng.sample(NAMES, sum(lengths)))
    return [(*(next(names) for _ in range(n)), op) for n, op in zip(lengths, operations, strict=True)], functions


def glossary(rng: random.Random, chains: Sequence[Chain]) -> str:
    """Write the context of a page: the links of its chains in random order."""
    lines = [f" {name} {value}\n" for chain in chains for name, value in zip(chain, chain[1:], strict=False)]
    rng.shuffle(lines)
    return "".join(['"""\n', *lines, '"""\n'])


def header(chain: Chain) -> str:
    """Write the first line of the function that carries a chain out."""
    return f"def {chain[0]}(x):\n"


def comment_line(chain: Chain) -> str:
    """Write the true intention of a function, its chain: ``"# ba ke zu evens\\n"``."""
    return f"# {' '.join(chain)}\n"


def task(drawn: Page) -> tuple[str, tuple[CallTest, ...], dict[str, str]]:
    """Call the function of a page on eight lists."""
    chain, rng = drawn.exercises[0].chain, random.Random(drawn.seed)
    inputs = [_argument(rng, number) for number in range(8)]
    run = BY_NAME[chain[-1]].run
    tests = tuple(CallTest(args=(values,), expected=run(list(values))) for values in inputs)
    return chain[0], tests, {"op": chain[-1]}


def _argument(rng: random.Random, number: int) -> list[int]:
    """The argument of test ``number``: the empty list first, then lists of 1 to 7 numbers, one of them twice."""
    if number == 0:
        return []
    values = [rng.randint(-9, 9) for _ in range(rng.randint(1, 6))]
    values.insert(rng.randint(0, len(values)), rng.choice(values))
    return values


def tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: ``#``, every digit, and every name or operation of the world stand alone."""
    words = "|".join((*NAMES, *BY_NAME))
    names = [f'"""\n {name} {name}\n' for name in NAMES]
    entries = [f"{header((name,))}    {comment_line((name, name, name))}" for name in NAMES]
    bodies = ["\n" + "".join(body(operation.name)) + f" {operation.name}" for operation in OPERATIONS]
    alone = f" ?#|[0-9]|(?: |(?<![A-Za-z0-9]))(?:{words})(?![A-Za-z0-9])"
    return word_tokenizer(alone, (*names, *entries, *bodies, *USELESS))


world = World(
    name="functions", first_name="testbed", levels=LEVELS, steps="line", stop="\ndef ", useless=USELESS,
    page=page, task=task, tokenizer=tokenizer,
)  # fmt: skip
