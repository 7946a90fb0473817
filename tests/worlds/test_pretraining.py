"""The script that makes a world's base model, in small."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ra3.model.policy import Policy
from ra3.worlds import WORLDS

ROOT = Path(__file__).parents[2]
SMALL = ["--layers", "1", "--batch", "2", "--links", "2", "--chains", "1", "--updates", "2"]


@pytest.mark.parametrize("name", WORLDS)
def test_a_base_model_is_made_from_nothing(tmp_path, name):
    command = [sys.executable, "perf/pretraining.py", name, "--out", str(tmp_path / "base"), *SMALL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["links", "chains", "read"]
    policy = Policy.load(tmp_path / "base", "pretrained", torch.float32, torch.device("cpu"), 0)
    assert policy.tokenizer.get_vocab() == WORLDS[name].tokenizer().get_vocab()
