"""A run's metrics in TensorBoard, Weights & Biases or trackio: views that only read `metrics.jsonl`.

The step of a point is the number of its line from 0, over all stages; its name is the stage's and the metric's:
`estep/elbo`. So a run that is shown again, or went back to a checkpoint, has its points in the same places.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path

from ra3.errors import UserError
from ra3.run.files import fingerprint_items, read_lines
from ra3.run.inspect import InspectedRun, inspect_run, metric_line, refuse_other, run_state

LOOK_EVERY_S = 2.0
PROJECT = "ra3"

Log = Callable[[Mapping[str, float], int], object]
"""Shows numbers by name at a step."""


def track(folder: Path, to: str, follow: bool = False) -> int:
    """Shows the lines of a run's metrics.jsonl in a tracker, with `follow` also those that come until the run ends;
    how many. UserError if there is no run, or the tracker is not installed or refuses."""
    refuse_other(folder)
    shown = 0
    try:
        with TRACKERS[to](inspect_run(folder)) as log:
            is_going = True
            while is_going:
                is_going = follow and run_state(folder).startswith("running")  # before the last lines are read
                for line in map(metric_line, islice(read_lines(folder / "metrics.jsonl"), shown, None)):
                    log({f"{line.stage}/{key}": value for key, value in line.values.items()}, shown)
                    shown += 1
                if is_going:
                    time.sleep(LOOK_EVERY_S)
    except ModuleNotFoundError as error:
        raise UserError(f"this needs the package {error.name}", fix=f"pip install 'ra3[{to}]'") from None
    return shown


@contextmanager
def _tensorboard(run: InspectedRun) -> Iterator[Log]:
    """Event files in RUN/tensorboard, where `tensorboard --logdir` finds them; earlier points give way to the same."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.folder / "tensorboard"), purge_step=0) as writer:
        yield lambda values, step: [writer.add_scalar(key, value, step) for key, value in values.items()]


@contextmanager
def _wandb(run: InspectedRun) -> Iterator[Log]:
    """A run of the project ra3, or of WANDB_PROJECT, with the settings; what it has of the run already it keeps."""
    import wandb  # pyright: ignore[reportMissingImports]

    began = [attempt.started for attempt in run.facts.attempts[:1]]
    name = run.folder.resolve().name
    place = {"project": os.environ.get("WANDB_PROJECT", PROJECT), "id": fingerprint_items([name, *began])}
    try:
        with wandb.init(**place, name=name, dir=run.folder, config=run.settings, resume="allow") as shown:
            yield lambda values, step: step < shown.step or shown.log(dict(values), step, commit=True)
    except wandb.Error as error:
        raise UserError(f"wandb refuses: {error}", fix="`wandb login`, or set WANDB_MODE=offline") from error


@contextmanager
def _trackio(run: InspectedRun) -> Iterator[Log]:
    """A new run of the project ra3, with the settings."""
    import trackio  # pyright: ignore[reportMissingImports]

    name, nothing = run.folder.resolve().name, {"auto_log_gpu": False, "auto_log_cpu": False}
    shown = trackio.init(project=PROJECT, name=name, config=run.settings, embed=False, **nothing)
    try:
        yield lambda values, step: shown.log(dict(values), step)
    finally:
        shown.finish()


TRACKERS: dict[str, Callable[[InspectedRun], AbstractContextManager[Log]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
