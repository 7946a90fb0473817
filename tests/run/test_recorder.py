"""The recorder: how often it saves."""

import io
import json
import time

import pytest
import torch
from rich.console import Console

from ra3.config.settings import Config
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.recorder import SAVING_SHARE, Recorder, between_checkpoints_s


@pytest.mark.parametrize(
    ("every_s", "saving_s", "found_s"),
    [(60, 0.1, 60), (60, 3, 60), (60, 6, 114), (600, 6, 600), (0, 6, 0)],
)
def test_saves_take_a_twentieth_of_the_time_at_the_most(every_s, saving_s, found_s):
    pause_s = between_checkpoints_s(every_s, saving_s)
    assert pause_s == pytest.approx(found_s)
    assert not every_s or saving_s / (saving_s + pause_s) <= SAVING_SHARE + 1e-9


@pytest.mark.parametrize(("every_s", "least", "most"), [(0, 99, 99), (1e-6, 1, 25)])
def test_large_states_are_saved_less_often(tmp_path, every_s, least, most):
    large = torch.nn.Linear(1000, 1000)  # 4 MB
    run = Run.create(tmp_path, "run", Config().model_dump(mode="json"), "midtrain")
    with Recorder(run, Display(run, Console(file=io.StringIO())), every_s) as recorder:
        for _ in recorder.loop("stage", 100, policy=large):
            time.sleep(0.001)
    run.close()
    assert least <= json.loads(run.path("environment.json").read_text())["checkpoints"]["saved"] <= most
