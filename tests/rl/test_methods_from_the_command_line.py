"""Methods of RLVR for ten updates from the command line, stopped on the way: one of each kind, with RA3_FULL=1 all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from cli_runs import Started, ra3
from method_runs import world_of

from ra3.config.conflicts import NEED_REFERENCES
from ra3.rl.methods import METHODS

STEPS = 10
ALWAYS = "gspo", "spo", "verifree", "tree_po", "mopps", "nlpo", "grpo_roc"
FULL = pytest.mark.skipif(os.environ.get("RA3_FULL") != "1", reason="takes minutes; RA3_FULL=1")


def numbers(run: Path) -> list[dict]:
    """The whole lines of metrics.jsonl so far."""
    file = run / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


@pytest.mark.parametrize("name", [pytest.param(name, marks=[FULL] * (name not in ALWAYS)) for name in METHODS])
def test_a_method_is_stopped_and_goes_on_to_its_tenth_update(tmp_path, name):
    world, reward = world_of(name), "likelihood" if name in NEED_REFERENCES else "tests"
    words = ["rlvr", "--model", world, "--rlvr.problems", world, "--rlvr.method", name, "--rlvr.reward", reward]
    words += ["--rlvr.steps", STEPS, "--rlvr.batch-problems", 2, "--rlvr.samples", 4, "--rlvr.epochs", 2]
    words += ["--rlvr.max-new-tokens", 32 if world == "functions" else 80]
    words += ["--run.name", "x", "--run.threads", 1, "--sandbox.workers", 1]
    run, started = tmp_path / "runs/x", Started(tmp_path, [*words, "--run.checkpoint-every-s", 0])
    started.wait_until(lambda: len(numbers(run)) >= 2, timeout_s=200)
    started.signal(signal.SIGINT)
    stopped, before = started.wait(), numbers(run)
    assert stopped.returncode == 130 and 2 <= len(before) < STEPS, stopped.stderr
    ended = ra3(tmp_path, *words, "--run.checkpoint-every-s", 0, "--resume")
    after = numbers(run)
    assert ended.returncode == 0 and len(after) == STEPS, ended.stderr
    assert after[: len(before) - 1] == before[:-1] and max(line["grad_norm"] for line in after) > 0
    assert max(line.get("logp_gap_max", 0.0) for line in after) < 1e-4
