"""LoRA: what learns is an adapter; pi is q without it, no weight is held twice, and what is saved is read by others."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace

import pytest
import torch
from cli_runs import Started, ra3
from conftest import make_model_folder
from peft import PeftModel
from small_runs import midtrain, rlvr, went_on
from transformers import AutoModelForCausalLM

from ra3.config.settings import LoraSettings, UpdateSettings
from ra3.em.mstep import next_token_step
from ra3.errors import UserError
from ra3.model.lora import AdapterState, Lora, merged
from ra3.model.policy import Policy
from ra3.model.update import make_optimizer, score, training_cost
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rollout.interleave import LatentRules, expert_rows, interleave

SETTINGS = LoraSettings(rank=4, alpha=8)


@pytest.fixture
def base(tmp_path):
    folder = make_model_folder(tmp_path / "base")
    policy = Policy.load(folder, "random", torch.float32, torch.device("cpu"), 0)
    policy.save(folder)
    return replace(Policy.load(folder, "pretrained", torch.float32, torch.device("cpu"), 0), lora=Lora(SETTINGS, 7))


@pytest.fixture
def rows(base, documents):
    return expert_rows(base, documents)


def logp(policy, rows):
    return score(policy, rows, rows.expert, 4096).logp


def trained(policy, rows, steps: int = 3):
    """A learner after a few steps."""
    learner = policy.learner()
    optimizer = make_optimizer(learner.model, "adamw", 1e-2)
    for _ in range(steps):
        next_token_step(learner, optimizer, rows, UpdateSettings())
    return learner


def test_a_learner_begins_as_what_it_learns_from_and_shares_its_weights(base, rows):
    before, learner = logp(base, rows), base.learner()
    assert torch.equal(logp(learner, rows), before)
    own = {p.data_ptr() for p in base.model.parameters()}
    names = {name for name, p in learner.model.named_parameters() if p.data_ptr() not in own}
    assert names == {name for name, p in learner.model.named_parameters() if p.requires_grad}
    assert names and all("lora_" in name for name in names)
    assert all(p.requires_grad for p in base.model.parameters())
    after = trained(base, rows)
    assert torch.equal(logp(base, rows), before) and not torch.allclose(logp(after, rows), before, atol=1e-3)


def test_the_adapter_is_drawn_from_the_seed(base):
    draws = [AdapterState(Lora(SETTINGS, seed).learner(base.model)).state_dict() for seed in (1, 1, 2)]
    name = next(name for name in draws[0] if "lora_A" in name)
    assert torch.equal(draws[0][name], draws[1][name]) and not torch.equal(draws[0][name], draws[2][name])


def test_a_learner_of_a_learner_goes_on_with_a_copy_of_the_adapter(base, rows):
    first = trained(base, rows)
    before, second = logp(first, rows), trained(first, rows)
    assert torch.equal(logp(first, rows), before) and not torch.equal(logp(second, rows), before)
    assert second.learnt.state_dict().keys() == first.learnt.state_dict().keys()


def test_what_is_saved_is_a_plain_model_and_an_adapter_that_peft_reads(base, rows, tmp_path):
    policy = trained(base, rows)
    policy.save(tmp_path / "out")
    again = Policy.load(tmp_path / "out", "pretrained", torch.float32, torch.device("cpu"), 0)
    torch.testing.assert_close(logp(again, rows), logp(policy, rows), atol=1e-5, rtol=1e-4)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.source), tmp_path / "out" / "adapter")
    ids = torch.tensor([rows.tokens(0)])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, merged(policy.model)(ids).logits, atol=1e-4, rtol=1e-3)
    assert theirs.peft_config["default"].base_model_name_or_path == base.source


def test_sampling_and_learning_agree_on_an_adapted_model(base, rows, documents):
    policy = trained(base, rows)
    written = interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), list(range(2 * len(documents))))
    optimizer, advantage = make_optimizer(policy.model, "adamw", 1e-3), written.action_mask.float()
    numbers = policy_step(policy, optimizer, written, advantage, PolicyLoss(), UpdateSettings())
    assert numbers["logp_gap_max"] < 1e-4 and numbers["grad_norm"] > 0


def test_a_backward_pass_costs_what_learns(base, rows):
    whole = training_cost(replace(base, lora=None).learner(), rows, rows.expert)["flops"]
    assert base.learner().learning_share < 0.5
    assert training_cost(base.learner(), rows, rows.expert)["flops"] < whole


def test_what_cannot_be_adapted_is_told(base, monkeypatch):
    with pytest.raises(UserError, match="no adapter can be put here"):
        Lora(LoraSettings(rank=2, targets=("nowhere",)), 0).learner(base.model)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="needs the package peft"):
        Lora(SETTINGS, 0).learner(base.model)


def test_an_adapter_of_another_rank_does_not_fit(base):
    state = Lora(LoraSettings(rank=2), 0).learner(base.model)
    with pytest.raises(RuntimeError):
        base.learner().learnt.load_state_dict(AdapterState(state).state_dict())


def test_a_run_with_an_adapter_goes_on_as_if_it_had_not_been_stopped(home):
    words = ["--model.lora.rank", "2", "--midtrain.em-rounds", "2"]
    assert ra3(home, *midtrain("lora", *words)).returncode == 0
    started, metrics = Started(home, midtrain("lora-stopped", *words)), home / "runs/lora-stopped/metrics.jsonl"
    started.wait_until(lambda: metrics.exists() and metrics.stat().st_size)
    started.signal(signal.SIGTERM)
    assert started.wait().returncode == 143
    whole = home / "runs/lora"
    went_on(home, midtrain("lora-stopped", *words), whole)
    assert (whole / "checkpoints/mstep-1.pt").stat().st_size < (whole / "model/model.safetensors").stat().st_size
    assert (whole / "model/adapter/adapter_model.safetensors").exists()


def test_reinforcement_from_tests_with_an_adapter(home):
    done = ra3(home, *rlvr("lora-rl", "--model.lora.rank", "2"))
    assert done.returncode == 0, done.stderr
    assert (home / "runs/lora-rl/model/adapter/adapter_config.json").exists()
