"""The recorder of a run: stages that are done once, loops that go on where they stopped, and what is written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from ra3.checkpoint import Checkpoints
from ra3.display import Display
from ra3.interrupts import StopRequest
from ra3.metrics import Metrics
from ra3.runs import Run


class Stateful(Protocol):
    """Something a checkpoint holds: a model, an optimiser, a controller."""

    def state_dict(self) -> Any:
        """The state as tensors and plain values."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Restores it."""


class Recorder:
    """Everything a stage needs to be restartable and visible. Use as a context manager.

    On entering, metrics written after the newest checkpoint are dropped: those steps will be done again.
    """

    def __init__(self, run: Run, display: Display, every_s: float, log_rollouts_every: int):
        self.run, self.display = run, display
        self._every_s, self._rollouts_every = every_s, log_rollouts_every
        self._checkpoints = Checkpoints(run)
        self._metrics = Metrics(run)
        self._metrics.truncate_to(self._checkpoints.position)
        self._stop = StopRequest()
        self._saved_at = time.monotonic()

    def __enter__(self) -> Recorder:
        self._stop.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.__exit__(*exception)
        self._metrics.close()
        self.display.close()

    def once(self, stage: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The output of `stage`: from disk if it is finished, else computed and saved."""
        done = self._checkpoints.output(stage)
        if done is None:
            done = dict(compute())
            self._save(stage, None, done)
            self._stop.raise_if_asked()
        return done

    def loop(self, stage: str, total: int, **state: Stateful) -> Iterator[int]:
        """Steps 0 .. total - 1 of `stage` that are still to do; `state` is restored before and saved between them."""
        first = 0
        if saved := self._checkpoints.newest_step(stage):
            first, states = saved
            for name, part in state.items():
                part.load_state_dict(states[name])
        for step in range(first, total):
            yield step
            due = time.monotonic() - self._saved_at >= self._every_s
            if (due or self._stop.signum is not None) and step + 1 < total:
                self._save(stage, step + 1, {name: part.state_dict() for name, part in state.items()})
                self._stop.raise_if_asked()

    def log(self, stage: str, em_round: int, step: int, total: int, values: Mapping[str, float]) -> None:
        """Writes one step's numbers down and shows them."""
        self._metrics.log(stage, em_round, step, values)
        self.display.update(stage, em_round, step, total, values)

    def wants_rollouts(self, step: int, total: int) -> bool:
        """Whether this step's rollouts go to rollouts.jsonl: every N-th, and the last."""
        return step % self._rollouts_every == 0 or step + 1 == total

    def rollout(self, record: Mapping[str, Any]) -> None:
        """Writes one rollout down."""
        self._metrics.rollout(record)

    def _save(self, stage: str, step: int | None, state: dict[str, Any]) -> None:
        self._checkpoints.save(stage, step, state, self._metrics.position())
        self._saved_at = time.monotonic()
