"""Where the time of a run goes: wall and CPU seconds, tokens, FLOPs and peak memory of every phase of every stage.

The loop and the recorder say what phase is under way (`phase`), and count what was done in it (`count`). Time inside
an inner phase is not the outer one's, and time outside all phases is "other", so that the wall times of a run add up to
how long it lasted.

ledger.jsonl has one line for each (stage, phase) every few seconds, and its readers add the lines up. It is apart from
metrics.jsonl because no two runs take equally long, and a resumed run goes on with it and cuts nothing back: work done
again was paid for twice. What a killed run spent after its last line is lost.

Inside a step, long work says after every pass how far it is (`Work`), and whoever watches the run is told.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ra3.run.files import append_line, drop_partial_line, number, read_lines
from ra3.run.results import Table

LEDGER, FLUSH_EVERY_S = "ledger.jsonl", 10.0
PHASES = ("rollouts", "scoring", "training", "grading", "checkpoints", "other")
TOKENS = ("generated", "scored", "trained")
HEADS = ("stage", "phase", "wall", "share", "own CPU", *TOKENS, "TFLOP", "GFLOP/s", "peak MiB")


@dataclass(frozen=True)
class Spent:
    """What one phase of one stage cost: seconds, tokens, FLOPs, memory. Of the memory of a sum the greater stays."""

    wall_s: float = 0.0
    cpu_s: float = 0.0  # of this process, all threads, and of other ranks; the programs under test run in others
    generated: float = 0.0  # tokens that the policy chose while sampling
    scored: float = 0.0  # tokens whose log-probability was computed without gradient
    trained: float = 0.0  # tokens that carried a loss
    flops: float = 0.0  # floating-point operations that these tokens need, as in ra3/model/update.py
    peak_mib: float = 0.0  # most memory during the phase: of the GPU if it is used, else resident

    def __add__(self, other: Spent) -> Spent:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Spent(**sums | {"peak_mib": max(self.peak_mib, other.peak_mib)})


Costs = dict[tuple[str, str], Spent]
"""(stage, phase) -> what it cost."""


class Ledger:
    """The open ledger of a run; use as a context manager. Without a path it is kept in memory alone, in `costs`."""

    def __init__(self, path: Path | None = None, attempt: int = 1):
        self.path, self.attempt, self.stage = path, attempt, "start"
        self.costs: Costs = defaultdict(Spent)
        """What was spent since the last flush."""
        self._open = ["other"]
        self._flushed = time.monotonic()
        self._clocks = time.perf_counter(), time.process_time()

    def __enter__(self) -> Ledger:
        if self.path:
            drop_partial_line(self.path)
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # a full disk has been told by what the run itself writes
            self.flush()

    def at(self, stage: str) -> None:
        """Books what follows under `stage`."""
        self._settle()
        self.stage = stage
        if time.monotonic() - self._flushed > FLUSH_EVERY_S:
            self.flush()

    @contextmanager
    def phase(self, name: str, **counts: float) -> Iterator[None]:
        """Books what happens inside under the phase `name`, and counts what is known of it beforehand."""
        self._settle()
        self._open.append(name)
        self.count(**counts)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    @property
    def under_way(self) -> str:
        """The phase in which this is."""
        return self._open[-1]

    def count(self, generated: float = 0.0, scored: float = 0.0, trained: float = 0.0, flops: float = 0.0) -> None:
        """Adds tokens and FLOPs to the phase under way."""
        self.costs[self._place] += Spent(generated=generated, scored=scored, trained=trained, flops=flops)

    def flush(self) -> None:
        """Writes what was spent since the last time."""
        self._settle()
        if not self.path:
            return
        costs, self.costs, self._flushed = self.costs, defaultdict(Spent), time.monotonic()
        with self.path.open("ab", buffering=0) as file:
            for (stage, phase), spent in costs.items():
                amounts = {key: float(f"{value:.6g}") for key, value in asdict(spent).items() if value}
                append_line(file, {"attempt": self.attempt, "stage": stage, "phase": phase, **amounts})

    def _settle(self) -> None:
        """Books the time since the last change of phase."""
        wall, cpu = time.perf_counter(), time.process_time()
        spent = Spent(wall - self._clocks[0], cpu - self._clocks[1], peak_mib=_peak_mib_since_last())
        self.costs[self._place] += spent
        self._clocks = wall, cpu

    @property
    def _place(self) -> tuple[str, str]:
        return self.stage, self.under_way


def read_ledger(folder: Path) -> Costs:
    """All that a run folder has spent, over all attempts, with other ranks' CPU seconds; what is no amount is 0."""
    costs: Costs = defaultdict(Spent)
    names, others = [f.name for f in fields(Spent)], folder.glob(f"logs/attempt_*.rank_*/{LEDGER}")
    for path, counted in [(folder / LEDGER, names), *((other, ["cpu_s"]) for other in sorted(others))]:
        for line in read_lines(path):
            amounts = {name: number(line.get(name)) for name in counted}
            own = Spent(**{name: value if 0 <= value < float("inf") else 0.0 for name, value in amounts.items()})
            costs[str(line.get("stage")), str(line.get("phase"))] += own
    return dict(costs)


def kind_of(stage: str) -> str:
    """The kind of a stage: estep-0 and estep-1 are of the kind estep."""
    return re.split(r"[-.]", stage)[0]


def by_kind(costs: Costs) -> Costs:
    """(kind of stage, phase) -> cost: kinds in order of appearance, phases in that of PHASES."""
    found: Costs = defaultdict(Spent)
    for (stage, phase), spent in costs.items():
        found[kind_of(stage), phase] += spent
    kinds, phases = [kind for kind, _ in found], [*PHASES, *(phase for _, phase in found)]
    return dict(sorted(found.items(), key=lambda item: (kinds.index(item[0][0]), phases.index(item[0][1]))))


def total(costs: Costs, *kinds: str) -> Spent:
    """Everything together, or all stages of these kinds."""
    return sum((spent for (stage, _), spent in costs.items() if not kinds or kind_of(stage) in kinds), Spent())


def cost_table(costs: Costs) -> Table:
    """The table of where the time went: a row for each kind of stage and phase, and one for the whole."""
    whole, rows = total(costs), []
    for (kind, phase), spent in (by_kind(costs) | {("all", ""): whole}).items():
        wall = spent.wall_s or 1
        times = [duration(spent.wall_s), f"{spent.wall_s / (whole.wall_s or 1):.1%}", f"{spent.cpu_s / wall:.0%}"]
        tokens = [f"{count:,.0f}" if count else "" for count in (getattr(spent, name) for name in TOKENS)]
        flops = [f"{spent.flops / 1e12:.3g}", f"{spent.flops / 1e9 / wall:.3g}"] if spent.flops else ["", ""]
        rows.append((kind, phase, *times, *tokens, *flops, f"{spent.peak_mib:,.0f}"))
    return Table("Where the time went", HEADS, rows)


def duration(seconds: float) -> str:
    """75 -> 1m15s, 2.34 -> 2.3s, 0.012 -> 12ms."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


class Work:
    """Tokens to be read, written or learnt from. ``str(work)``: 3,120 of 16,384 tokens, 82 a second, 2m42s left."""

    def __init__(self, total: int):
        self.total, self.done, self._watcher = total, 0, _watcher.get()
        self._began = time.monotonic()

    def advance(self, tokens: int) -> None:
        """So many more are done."""
        self.done += tokens
        if self._watcher:
            self._watcher(self)

    def __str__(self) -> str:
        rate = self.done / max(time.monotonic() - self._began, 1e-9)
        return (
            f"{self.done:,} of {self.total:,} tokens, {rate:,.0f} a second, "
            f"{duration(max(0, self.total - self.done) / max(rate, 1e-9))} left"
        )


Watcher = Callable[[Work], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Inside, `watcher` is told of all work in this thread whenever it advances."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def _peak_mib_since_last() -> float:
    """Most memory since the last call, MiB. Where Linux does not forget a process's peak, most memory so far."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        peak = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return peak
    with suppress(OSError, TypeError):
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        Path("/proc/self/clear_refs").write_text("5")
        return int(found[1]) / 1024  # pyright: ignore[reportOptionalSubscript]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
