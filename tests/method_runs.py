"""Methods of RLVR in tests: rows made by hand, methods with nothing to solve, and short runs of them."""

from __future__ import annotations

import io
from functools import cache

import torch
from rich.console import Console

from ra3.config.conflicts import NEED_HINTS, NEED_REFERENCES, NEED_TOOLS
from ra3.config.settings import Config, RlvrSettings, UpdateSettings
from ra3.model.policy import Policy
from ra3.rl.loop import reinforce
from ra3.rl.losses import token_mean
from ra3.rl.methods import METHODS
from ra3.rlvr import task_class
from ra3.rows import FULL, RowBuilder, Rows, build
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS

OLD = -2.0
SETTINGS = RlvrSettings(steps=2, batch_problems=4, samples=4, max_new_tokens=40, epochs=2, learning_rate=3e-4)


def rows_of(*lengths: int, samples: int = 2) -> Rows:
    """Rows of so many chosen tokens after a prompt of one, each of log-probability OLD."""
    builders = []
    for r, length in enumerate(lengths):
        builder = RowBuilder.start(r // samples, [1])
        for token in range(length):
            builder.append(token, 0, FULL, OLD, OLD)
        builders.append(builder)
    return build(builders)


def task(name: str, **changes):
    """A method with nothing to solve."""
    settings = SETTINGS.model_copy(update={"method": name, **changes})
    return METHODS[name](None, [None], None, settings, UpdateSettings(), 0)


def slopes(loss, rows: Rows, log_ratio: torch.Tensor, advantage, weight=None) -> torch.Tensor:
    """dL / d log q [B,T] of a loss of rows."""
    logp = (rows.logp_old + log_ratio * rows.action_mask).requires_grad_()
    chosen = rows.action_mask & rows.valid
    weight = token_mean(chosen, 9).float() if weight is None else weight
    value = loss(None, logp, rows, torch.tensor(advantage)[:, None] * chosen, weight)
    (found,) = torch.autograd.grad(value, logp)
    return found


def plain(rows: Rows, advantage, aggregation=token_mean) -> torch.Tensor:
    """What the default method follows where every ratio is 1: - w_t A_t."""
    chosen = rows.action_mask & rows.valid
    return -(aggregation(chosen, 9) * torch.tensor(advantage)[:, None] * chosen).float()


@cache
def world_policy(world: str) -> Policy:
    """The base model of a world; tests that train take a snapshot."""
    return Policy.load(WORLDS[world].model, "pretrained", torch.float32, torch.device("cpu"), 0)


def world_of(name: str) -> str:
    """The world whose problems have what a method needs."""
    if name in (*NEED_TOOLS, "archer"):
        return "look-ups"
    return "word-problems" if name in (*NEED_REFERENCES, *NEED_HINTS) else "functions"


def run(folder, name: str, kind=None, band: str = "known", **changes) -> tuple[Policy, str]:
    """Trains by a method, saving after every step; the policy and the lines of metrics.jsonl."""
    world, reward = WORLDS[world_of(name)], "likelihood" if name in NEED_REFERENCES else "tests"
    settings = SETTINGS.model_copy(update={"method": name, "reward": reward, **changes})
    kind, problems = kind or task_class(name, reward), world.problems("rl", 0, 12, band)
    made = Run.create(folder, "run", Config().model_dump(mode="json"), "rlvr", resume=True)
    with Recorder(made, Display(made, Console(file=io.StringIO())), 0) as recorder, Sandbox(1) as sandbox:
        try:
            own, start = kind(recorder, problems, sandbox, settings, UpdateSettings(), 0), world_policy(world_of(name))
            return reinforce(recorder, start.snapshot(), own), (folder / "run/metrics.jsonl").read_text()
        finally:
            made.close()


def weights(policy: Policy) -> torch.Tensor:
    """All weights in one row."""
    return torch.cat([p.detach().flatten() for p in policy.model.parameters()])
