"""Where the time of a run goes: wall and CPU seconds, tokens, FLOPs and peak memory of every phase of every stage.

Functions that do a phase's work say so with `@phase("scoring")`, and count what they did with `count(...)`; where no
run is open both do nothing. Time inside an inner phase is not the outer one's, and time outside all phases is "other",
so that the wall times of a run add up to how long it lasted.

ledger.jsonl has one line for each (stage, phase) every few seconds, and its readers add the lines up. It is apart from
metrics.jsonl because no two runs take equally long, and a resumed run goes on with it and cuts nothing back: work done
again was paid for twice. What a killed run spent after its last line is lost.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ra3.run.metrics import mend, number, read_lines

FILE = "ledger.jsonl"
PHASES = ("rollouts", "scoring", "training", "grading", "checkpoints", "other")
FLUSH_EVERY_S = 10.0


@dataclass
class Spent:
    """What one phase of one stage cost."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of this process, all threads; the programs under test run in others."""
    generated: float = 0.0
    """Tokens that the policy chose while sampling."""
    scored: float = 0.0
    """Tokens whose log-probability was computed without gradient."""
    trained: float = 0.0
    """Tokens that carried a loss."""
    flops: float = 0.0
    """Floating-point operations that these tokens need, as in ra3/model/flops.py."""
    peak_mib: float = 0.0
    """Most memory during the phase: of the GPU if it is used, else resident."""

    def add(self, other: Spent) -> None:
        """Costs add up; of two peaks the greater stays."""
        for f in fields(self):
            mine, its = getattr(self, f.name), getattr(other, f.name)
            setattr(self, f.name, max(mine, its) if f.name == "peak_mib" else mine + its)


Costs = dict[tuple[str, str], Spent]
"""(stage, phase) -> what it cost."""


class Ledger:
    """The open ledger of a run; use as a context manager. `stage` is what phases are counted under."""

    def __init__(self, path: Path | None = None, attempt: int = 1):
        self.path, self.attempt, self.stage = path, attempt, "start"
        self._costs: Costs = {}
        self._open = ["other"]
        self._flushed = time.monotonic()
        self._clocks = time.perf_counter(), time.process_time()

    def __enter__(self) -> Ledger:
        if self.path:
            mend(self.path)
        self._token = OPEN.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        OPEN.reset(self._token)
        with suppress(OSError):  # a full disk has been told by what the run itself writes
            self.flush()

    def at(self, stage: str) -> None:
        """From now on `stage`."""
        self._settle()
        self.stage = stage
        if time.monotonic() - self._flushed > FLUSH_EVERY_S:
            self.flush()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside belongs to the phase `name`."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def count(self, **amounts: float) -> None:
        """Adds tokens or FLOPs to the phase under way."""
        self._own().add(Spent(**amounts))

    def flush(self) -> None:
        """Writes what was spent since the last time."""
        self._settle()
        place = {"attempt": self.attempt}
        lines = [
            json.dumps({**place, "stage": stage, "phase": phase, **_rounded(spent)}) + "\n"
            for (stage, phase), spent in self._costs.items()
        ]
        self._costs, self._flushed = {}, time.monotonic()
        if not self.path:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def _own(self) -> Spent:
        return self._costs.setdefault((self.stage, self._open[-1]), Spent())

    def _settle(self) -> None:
        """Books the time since the last change of phase."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._own().add(Spent(wall - self._clocks[0], cpu - self._clocks[1], peak_mib=_peak_mib_since_last()))
        self._clocks = wall, cpu


OPEN: ContextVar[Ledger | None] = ContextVar("open ledger", default=None)
"""The ledger of the run that this thread works for."""


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Books what happens inside, or in the decorated function, under the phase `name`."""
    if ledger := OPEN.get():
        with ledger.phase(name):
            yield
    else:
        yield


def count(**amounts: float) -> None:
    """Adds tokens or FLOPs (fields of Spent) to the phase under way."""
    if ledger := OPEN.get():
        ledger.count(**amounts)


def read_ledger(folder: Path) -> Costs:
    """All that a run folder has spent, over all attempts; lines that say nothing are passed over."""
    costs: Costs = {}
    for line in read_lines(folder / FILE):
        own = Spent(**{f.name: _amount(line.get(f.name)) for f in fields(Spent)})
        costs.setdefault((str(line.get("stage")), str(line.get("phase"))), Spent()).add(own)
    return costs


def by_phase(costs: Costs, which: str = "") -> dict[str, Spent]:
    """phase -> cost in all stages whose name begins with `which`, in the order of PHASES."""
    found: dict[str, Spent] = {}
    for (stage, name), spent in costs.items():
        if stage.startswith(which):
            found.setdefault(name, Spent()).add(spent)
    return {name: found[name] for name in [*PHASES, *sorted(found.keys() - set(PHASES))] if name in found}


def _rounded(spent: Spent) -> dict[str, float]:
    return {key: float(f"{value:.6g}") for key, value in asdict(spent).items() if value}


def _amount(value: Any) -> float:
    """A number of the file; 0 for what is none."""
    found = number(value)
    return found if 0 <= found < float("inf") else 0.0


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
