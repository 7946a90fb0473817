"""Operations of the embedded world: a name, the lines of its idiom, and what it computes.

Idioms come in families that share their first lines (``LOOP`` opens nine of them), so the line that tells
operations apart comes late and an intention has to last for several lines. A function's name never helps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

Value = list[int] | int
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
    run: Callable[[list[int]], Value]
    new: bool = False  # True: pre-training mentions the name and never shows the idiom


def _keep(condition: str) -> tuple[str, ...]:
    return (*LOOP, f"    if {condition}:", "        y.append(v)", "return y")


def _map(value: str) -> tuple[str, ...]:
    return (*LOOP, f"    y.append({value})", "return y")


def _fold(value: str) -> tuple[str, ...]:
    return (*FOLD, f"    s += {value}", "return s")


OPERATIONS: tuple[Operation, ...] = (
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
    Operation("negatives", _keep("v < 0"), lambda x: [v for v in x if v < 0], new=True),
    Operation("distant", _keep("v * v > 9"), lambda x: [v for v in x if v * v > 9], new=True),
    Operation("triple", _map("v * 3"), lambda x: [v * 3 for v in x], new=True),
    Operation("halve", _map("v // 2"), lambda x: [v // 2 for v in x], new=True),
    Operation("power", _fold("v * v"), lambda x: sum(v * v for v in x), new=True),
    Operation("running", ("y = []", "s = 0", "for v in x:", "    s += v", "    y.append(s)", "return y"),
              lambda x: list(accumulate(x)), new=True),
    Operation("first", (*GUARD, "return x[0]"), lambda x: x[0] if x else 0, new=True),
    Operation("descend", (*SORTED, "return y[::-1]"), lambda x: sorted(x, reverse=True), new=True),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
OLD = tuple(operation.name for operation in OPERATIONS if not operation.new)
NEW = tuple(operation.name for operation in OPERATIONS if operation.new)


def body(name: str) -> tuple[str, ...]:
    """The lines of operation ``name`` as they stand in a function: indented by four spaces, each with its newline."""
    return tuple(f"    {line}\n" for line in BY_NAME[name].lines)
