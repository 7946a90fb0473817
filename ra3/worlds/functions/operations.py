"""Operations of the embedded world: a name, the lines of its idiom, and what it computes.

Idioms come in families that share their first lines (``LOOP`` opens nine of them), so the line that tells
operations apart comes late and an intention has to last for several lines. A function's name never helps.
The new operations put known lines together in ways that pre-training never showed.
"""

from collections.abc import Callable
from dataclasses import dataclass

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


def _keep(condition: str, *also: str) -> tuple[str, ...]:
    """Collects the elements that pass, and after each element of the argument the values ``also``."""
    always = (f"    y.append({value})" for value in also)
    return (*LOOP, f"    if {condition}:", "        y.append(v)", *always, "return y")


def _map(*values: str) -> tuple[str, ...]:
    return (*LOOP, *(f"    y.append({value})" for value in values), "return y")


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
    Operation("descend", (*SORTED, "return y[::-1]"), lambda x: sorted(x, reverse=True), new=True),
    Operation("trim", (*SORTED, "return y[1:]"), lambda x: sorted(x)[1:], new=True),
    Operation("first", (*COPY, "return y[:1]"), lambda x: x[:1], new=True),
    Operation("tally", (*FOLD, "    s += v", "    s += 1", "return s"), lambda x: sum(x) + len(x), new=True),
    Operation("mirror", _map("v + 1", "-v"), lambda x: [w for v in x for w in (v + 1, -v)], new=True),
    Operation("fan", _map("v * v", "v + v"), lambda x: [w for v in x for w in (v * v, v + v)], new=True),
    Operation("echo", _keep("v > 0", "-v"), lambda x: [w for v in x for w in ((v, -v) if v > 0 else (-v,))], new=True),
    Operation(
        "stutter",
        _keep("v % 2 == 0", "v + 1"),
        lambda x: [w for v in x for w in ((v, v + 1) if v % 2 == 0 else (v + 1,))],
        new=True,
    ),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
OLD = tuple(operation.name for operation in OPERATIONS if not operation.new)
NEW = tuple(operation.name for operation in OPERATIONS if operation.new)


def body(name: str) -> tuple[str, ...]:
    """The lines of operation ``name`` as they stand in a function: indented by four spaces, each with its newline."""
    return tuple(f"    {line}\n" for line in BY_NAME[name].lines)
