"""A plan is told at once, from a part of the corpus and small trials, and says how sure it is."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ra3.commands import corpus_look
from ra3.commands.corpus_look import look_at_corpus, spread_parts
from ra3.commands.memory import memory_plan
from ra3.commands.speed import Stopwatch, measure_speed
from ra3.commands.stage_costs import MidtrainingCosts
from ra3.config.load import load
from ra3.model.update import forward_flops


@pytest.fixture(scope="module")
def settings():
    return load((), {"corpus.documents": "200", "midtrain.mstep.batch_documents": "10", "run.threads": "1"})


def test_the_first_line_comes_before_anything_heavy_is_imported():
    code = """
import builtins, sys
from ra3.cli import main
def first(text, **_):
    sys.stderr.write(f"{text} {'torch' in sys.modules}")
    sys.exit()
builtins.print = first
main(["midtrain", "--dry-run"])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stderr
    assert said.startswith("plan of ra3 midtrain") and said.endswith("False")


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 1000])
def test_every_document_is_in_one_part_and_parts_are_spread_out(count):
    parts = list(spread_parts(count))
    assert sorted(i for part in parts for i in part) == list(range(count))
    assert max(parts[0]) - min(parts[0]) >= count * 0.9 - 1


def test_a_part_of_the_corpus_tells_the_size_of_the_whole(policy, settings, monkeypatch):
    whole = look_at_corpus(settings, policy)
    monkeypatch.setattr(corpus_look, "READ_S", 0.0)
    part = look_at_corpus(settings, policy)
    assert whole.num_read == whole.num_all == part.num_all > part.num_read and whole.spread == 0 < part.spread
    tokens = float(part.rows.expert.sum()) * part.scale
    assert tokens == pytest.approx(float(whole.rows.expert.sum()), rel=0.15)
    assert "documents read: \u00b1" in part.text() and "read" not in whole.text()


def test_a_trial_changes_nothing_and_gives_a_speed_for_everything(policy, settings):
    before, watch = [p.clone() for p in policy.model.parameters()], Stopwatch(policy.device)
    speed = measure_speed(watch, policy, list(range(5, 50)), settings.update, ("adamw", "muon"))
    assert all(torch.equal(mine, its) for mine, its in zip(policy.model.parameters(), before, strict=True))
    assert all(p.requires_grad and p.grad is None for p in policy.model.parameters())
    assert speed.forward > 0 and speed.training > 0 and 0 < speed.saving < float("inf") and watch.cpu_s > 0
    assert set(speed.optimizer_s) == {"adamw", "muon"} and min(speed.optimizer_s.values()) > 0


def test_stages_take_what_their_flops_take(policy, settings):
    corpus, watch = look_at_corpus(settings, policy), Stopwatch(policy.device)
    speed = measure_speed(watch, policy, corpus.ids, settings.update, ("adamw", "muon"))
    memory = memory_plan(policy, settings, "midtrain", corpus.lengths)
    costs = MidtrainingCosts.of(settings, policy, corpus, speed, memory)
    stages = {stage.name: stage for method in ("ntp", "ra3") for stage in costs.stages([method])}
    flops = 3 * forward_flops(policy, corpus.rows.length, float(corpus.rows.expert.sum()))
    updates = -(-corpus.num_all // 10)
    steps_s = updates * speed.optimizer_s[settings.midtrain.mstep.optimizer]
    assert stages["M-step ntp"].seconds == pytest.approx(flops / speed.training + steps_s)
    assert stages["M-step ntp"].work.startswith(f"{updates} updates") and "E-step ntp" not in stages
    assert stages["M-step ra3"].seconds > stages["M-step ntp"].seconds and stages["annotate ra3"].seconds > 0
    assert stages["E-step ra3"].work == "8 updates of 16 rollouts"
