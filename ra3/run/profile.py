"""The profile of a run: its ledger as a table, and the costs of two runs side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ra3.run.display import duration
from ra3.run.ledger import Costs, Spent, by_phase, read_ledger

HEADS = (
    "stage", "phase", "wall", "share", "own CPU", "generated", "scored", "trained", "TFLOP", "GFLOP/s", "peak MiB",
)  # fmt: skip
READING = (
    "Wall time of all attempts, work done twice included. Own CPU: CPU time of this process over wall time; low where "
    "it waits for programs under test, above 100% where several threads work. Tokens generated, scored and trained on; "
    "FLOPs that they need. The evaluation's rollouts and grading are those of the stages heldout and eval."
)


def families(costs: Costs) -> dict[str, Costs]:
    """The costs by kind of stage, in order of appearance: estep-0 and estep-1 are of the kind estep."""
    found: dict[str, Costs] = {}
    for (stage, phase), spent in costs.items():
        kind = re.split(r"[-.]", stage)[0]
        found.setdefault(kind, {})[(stage, phase)] = spent
    return found


def total(costs: Costs) -> Spent:
    """Everything together."""
    out = Spent()
    for spent in costs.values():
        out.add(spent)
    return out


def profile_rows(costs: Costs) -> Iterator[tuple[str, ...]]:
    """Cells under HEADS: one line for each kind of stage and phase, and one for the whole."""
    whole = total(costs)
    for kind, own in families(costs).items():
        for phase, spent in by_phase(own).items():
            yield kind, phase, *_cells(spent, whole.wall_s)
    yield "all", "", *_cells(whole, whole.wall_s)


def profile_text(folder: Path) -> str:
    """The profile of a run folder in aligned columns."""
    lines = [HEADS, *profile_rows(read_ledger(folder))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    aligned = [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return "\n".join([f"where the time of {folder} went", *(line.rstrip() for line in aligned)])


def cost_differences(a: Path, b: Path) -> Iterator[str]:
    """Wall time, CPU time and FLOPs of two runs by kind of stage, and how they compare in all."""
    both = [families(read_ledger(run)) for run in (a, b)]
    for kind in dict.fromkeys([*both[0], *both[1]]):
        yield f"{kind} took {' and '.join(_cost(total(own.get(kind, {}))) for own in both)}"
    one, two = (total({key: spent for costs in own.values() for key, spent in costs.items()}) for own in both)
    if one.wall_s and two.wall_s:
        ratios = [("wall time", one.wall_s, two.wall_s), ("CPU time", one.cpu_s, two.cpu_s)]
        ratios.append(("FLOPs", one.flops, two.flops))
        yield "the second over the first: " + ", ".join(f"{y / x:.2f} in {name}" for name, x, y in ratios if x)


def _cost(spent: Spent) -> str:
    return f"{_seconds(spent.wall_s)} ({_seconds(spent.cpu_s)} CPU, {spent.flops / 1e12:.3g} TFLOP)"


def _cells(spent: Spent, whole_s: float) -> tuple[str, ...]:
    tokens = (f"{count:,.0f}" if count else "" for count in (spent.generated, spent.scored, spent.trained))
    flops = (f"{spent.flops / 1e12:.3g}", f"{spent.flops / 1e9 / (spent.wall_s or 1):.3g}") if spent.flops else ("", "")
    share, busy = spent.wall_s / (whole_s or 1), spent.cpu_s / (spent.wall_s or 1)
    return _seconds(spent.wall_s), f"{share:.1%}", f"{busy:.0%}", *tokens, *flops, f"{spent.peak_mib:,.0f}"


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 60 else f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"
