"""The recorder of a run: does each stage once, goes on with loops where they stopped, writes down what they give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any, Protocol

from ra3 import ranks
from ra3.errors import UserError
from ra3.run.checkpoints import Checkpoints, SavedTensor, with_leaves
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.ledger import LEDGER, Ledger, Work, watched_by
from ra3.run.metrics import Metrics
from ra3.run.stopping import Stopped, StopRequest, deadline

ROLLOUTS_EVERY = 10
"""Steps between those whose rollouts are written down."""
SAVING_SHARE = 0.05
"""Of the time, that checkpoints between steps may take: those of a large model take minutes each."""


class Stateful(Protocol):
    """Something a checkpoint holds: a model, an optimiser, a controller. One that `takes_shares` is given tensors that
    ranks saved in shares as they are, another one whole tensors."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def restore(part: Stateful, state: Any, stage: str) -> None:
    """Loads a saved state. UserError where it does not fit, as a fork with another model or optimiser may find."""
    try:
        if not getattr(part, "takes_shares", False):
            state = with_leaves(state, lambda leaf: leaf.whole() if isinstance(leaf, SavedTensor) else leaf)
        part.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"what was saved of {stage} does not fit these settings: {str(error).splitlines()[0][:200]}",
            fix="a fork must keep the model and the optimiser of the run that it takes over",
        ) from error


def between_checkpoints_s(every_s: float, saving_s: float) -> float:
    """From a checkpoint to the next: `every_s`, or more so that saves, `saving_s` each, keep to SAVING_SHARE. 0: 0."""
    return max(every_s, saving_s * (1 / SAVING_SHARE - 1)) if every_s else 0.0


class Recorder:
    """Everything a stage needs to be restartable and visible. Use as a context manager.

    Metrics written after the newest checkpoint are dropped: those steps will be done again. `rollout` is that of its
    metrics, `phase` and `count` are those of its ledger.
    """

    def __init__(self, run: Run, display: Display, every_s: float, stuck_after_s: float = 3600.0):
        self.run, self.display, self._every_s, self._stuck_after_s = run, display, every_s, stuck_after_s
        self._metrics = Metrics(run)
        self._checkpoints = Checkpoints(run, self._metrics.sizes())
        for warning in self._checkpoints.warnings:
            display.warn(warning)
        self._metrics.truncate_to(self._checkpoints.position)
        self.rollout = self._metrics.rollout
        self.ledger = Ledger(run.path(LEDGER), run.attempt)
        self.phase, self.count = self.ledger.phase, self.ledger.count
        self._stop, self._opened = StopRequest(), ExitStack()
        self._began = self._saved_at = self._moved_at = time.monotonic()
        self._saves, self._saving_s, self._last_saving_s, self._doing = 0, 0.0, 0.0, "its start"

    def __enter__(self) -> Recorder:
        stacks = self.run.path("logs", f"attempt_{self.run.attempt}.stacks")
        for part in (closing(self.display), closing(self._metrics), self.ledger, self._stop):
            self._opened.enter_context(part)
        self._moved = self._opened.enter_context(deadline(self._stuck_after_s, stacks, self.run.resume_line))
        self._opened.enter_context(watched_by(self._advanced))
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()
        if isinstance(lost := exception[1], ranks.PeersLost):
            lost.doing = self._doing
        if self._saves and (exception[0] is None or exception[0] is Stopped):
            share = self._saving_s / (time.monotonic() - self._began)
            cost = {"saved": self._saves, "seconds": round(self._saving_s, 3), "share": round(share, 5)}
            self.run.add_facts(checkpoints=cost)

    def once(self, stage: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The output of `stage`: from disk if it is finished, else computed and saved."""
        done = ranks.from_first(lambda: self._checkpoints.output(stage))
        if done is None:
            self._begin(stage, stage)
            done = dict(compute())
            self._save(stage, None, done)
            self._begin(f"what follows {stage}", "between stages")
            self._stop.raise_if_asked()
        return done

    def finished_parts(self, stage: str) -> list[dict[str, Any]]:
        """The outputs of the parts of `stage` that are saved."""

        def read() -> list[dict[str, Any]]:
            done: list[dict[str, Any]] = []
            while shard := self._checkpoints.output(f"{stage}.{len(done):05d}"):
                done += shard["parts"]
            return done

        return ranks.from_first(read)

    def parts(self, stage: str, count: int, compute: Callable[[int], Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of parts 0 .. count - 1 of `stage`, one after the other. They are saved in shards, whenever a
        checkpoint is due and at the end; a shard is called by its first part."""
        done = self.finished_parts(stage)
        saved = len(done)
        for number in range(saved, count):
            self._begin(f"{stage}, part {number + 1} of {count}", stage)
            done.append(dict(compute(number)))
            if self._is_due() or number + 1 == count:
                self._save(f"{stage}.{saved:05d}", None, {"parts": done[saved:]})
                saved = len(done)
                self._stop.raise_if_asked()
        return done

    def loop(self, stage: str, total: int, **state: Stateful) -> Iterator[int]:
        """Steps 0 .. total - 1 of `stage` that are still to do; `state` is restored before and saved between them."""
        first, states = ranks.from_first(lambda: self._checkpoints.newest_step(stage)) or (0, {})
        for name in states:
            restore(state[name], states[name], stage)
        for step in range(first, total):
            self._begin(f"{stage}, step {step + 1} of {total}", stage)
            yield step
            if self._is_due() and step + 1 < total:
                self._save(stage, step + 1, {name: part.state_dict() for name, part in state.items()})
                self._stop.raise_if_asked()

    def log(self, stage: str, em_round: int, step: int, total: int, values: Mapping[str, float]) -> None:
        """Writes one step's numbers down and shows them."""
        self._metrics.log(stage, em_round, step, values)
        self.display.update(stage, em_round, step, total, values)

    def wants_rollouts(self, step: int, total: int) -> bool:
        """Whether this step's rollouts go to rollouts.jsonl: every tenth, and the last."""
        return step % ROLLOUTS_EVERY == 0 or step + 1 == total

    def _begin(self, what: str, stage: str) -> None:
        """Tells the deadline what is under way, and the ledger which stage to book its time under."""
        self._doing = what
        self._tell_deadline()
        self.ledger.at(stage)

    def _tell_deadline(self) -> None:
        self._moved(self._doing)
        self._moved_at = time.monotonic()

    def _advanced(self, work: Work) -> None:
        """Work inside a step goes on: nothing hangs, and it is shown."""
        if time.monotonic() - self._moved_at > 1:
            self._tell_deadline()
        self.display.progress(f"{self._doing}, {self.ledger.under_way}", work)

    def _is_due(self) -> bool:
        """Whether what has been done must be saved now: a checkpoint is due, or the run was asked to stop."""
        late = time.monotonic() - self._saved_at >= between_checkpoints_s(self._every_s, self._last_saving_s)
        return ranks.from_first(lambda: late or self._stop.signum is not None)

    def _save(self, stage: str, step: int | None, state: dict[str, Any]) -> None:
        start = time.monotonic()
        with self.ledger.phase("checkpoints"):
            self._checkpoints.save(stage, step, state, self._metrics.position())
        if ranks.rank():
            return
        with self.run.guard("write the ledger"):
            self.ledger.flush()
        self._saved_at = time.monotonic()
        self._last_saving_s = self._saved_at - start
        self._saves, self._saving_s = self._saves + 1, self._saving_s + self._last_saving_s
