"""How many modules one has to open to follow a step: those of ra3 in which a function ran, counted by a trace."""

from __future__ import annotations

import gc
import inspect
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from rich.console import Console

import ra3
from ra3.cli import main
from ra3.config.settings import Config, RlvrSettings, UpdateSettings
from ra3.model.policy import Policy
from ra3.model.update import make_optimizer
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rlvr import rlvr
from ra3.rollout.interleave import LatentRules, interleave
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS

PACKAGE = Path(ra3.__file__).parent


@contextmanager
def trace() -> Iterator[set[str]]:
    """The modules of ra3 in which a function runs in this thread meanwhile: "model/policy.py", ..."""
    files: set[str] = set()

    def seen(frame, event, _) -> None:
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # no module and no class body
            files.add(frame.f_code.co_filename)

    modules: set[str] = set()
    gc.collect()  # what ends with an object of another test is no part of the step
    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        yield modules
    finally:
        sys.setprofile(before)
        inside = [Path(file) for file in files if file.startswith(str(PACKAGE)) and file.endswith(".py")]  # no template
        modules |= {path.relative_to(PACKAGE).as_posix() for path in inside}


@pytest.fixture(scope="module")
def base() -> Policy:
    return Policy.load(WORLDS["functions"].model, "pretrained", torch.float32, torch.device("cpu"), 0)


@pytest.fixture(scope="module")
def rows(policy, documents):
    return interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), list(range(16)))


def test_a_rollout_of_the_e_step(policy, documents):
    with trace() as modules:
        interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), list(range(16)))
    assert len(modules) <= 8, sorted(modules)


def test_a_policy_step(policy, rows):
    twin = policy.snapshot()
    optimizer, advantage = make_optimizer(twin.model, "adamw", 1e-3), torch.randn(rows.ids.shape) * rows.action_mask
    with trace() as modules:
        policy_step(twin, optimizer, rows, advantage, PolicyLoss(), UpdateSettings())
    assert len(modules) <= 9, sorted(modules)


def test_a_step_of_rlvr(tmp_path, base):
    problems = WORLDS["functions"].problems("rl", 0, 8, "edge")
    settings = RlvrSettings(steps=1, batch_problems=4, samples=8, max_new_tokens=40)
    run = Run.create(tmp_path, "run", Config().model_dump(mode="json"), "rlvr")
    with Recorder(run, Display(run, Console(file=io.StringIO())), 1e9) as recorder, Sandbox(1) as sandbox:
        with trace() as modules:
            rlvr(recorder, base.snapshot(), problems, sandbox, settings, UpdateSettings(), 0)
        run.close()
    modules = {name for name in modules if not name.startswith("sandbox/")}
    assert len(modules) <= 24, sorted(modules)


def test_mid_training_from_the_command_line_to_the_report(tmp_path):
    words = ["midtrain", "tiny-cpu", "--run.out", str(tmp_path), "--run.name", "x", "--run.threads", "1"]
    words += ["--corpus.documents", "30", "--midtrain.estep.updates", "1"]
    with trace() as modules:
        assert main(words) == 0
    assert (tmp_path / "x" / "report.html").is_file()
    assert len(modules) <= 61, sorted(modules)
