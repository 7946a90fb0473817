"""One step of learning: scores are the model's own, nothing is learnt from nothing, and bad numbers stop it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from conftest import make_policy, passes

from ra3.config.settings import UpdateSettings
from ra3.em.mstep import next_token_step, trained_tokens
from ra3.model.update import NotFinite, make_optimizer, score
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import AGGREGATIONS, clipped_policy_loss
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.rows import CONTEXT


@pytest.fixture(scope="module")
def rows(policy, documents):
    return interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), list(range(16)))


def test_every_token_is_packed_once(rows):
    seen = torch.zeros_like(rows.ids)
    for packed in passes(rows, 300):
        seen[packed.row, packed.column] += 1
        assert torch.equal(rows.ids[packed.row, packed.column], packed.ids[packed.token])
        assert torch.equal(packed.column, packed.positions[packed.token])
    assert torch.equal(seen, rows.valid.long())


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])  # positions relative and absolute
def test_packed_scores_are_the_models_own(tmp_path, rows, architecture):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2} if architecture == "gpt2" else {}
    policy = make_policy(tmp_path, architecture, **sizes)
    rows = replace(rows, length=rows.length // torch.tensor([1, 2, 3, 4]).repeat(4))
    assert any((packed.column == 0).sum() > 1 for packed in passes(rows, 1200))  # rows share a pass
    scores = score(policy, rows, rows.valid, 1200)
    for r in range(4):
        ids = torch.tensor(rows.tokens(r))
        logp = policy.model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
        assert (scores.logp[r, 1 : len(ids)] - logp).abs().max() < 1e-5


def test_an_update_without_signal_leaves_everything_as_it_was(policy, rows):
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, "adamw", 1.0, weight_decay=0.1)
    numbers = policy_step(
        model, optimizer, rows, torch.zeros_like(rows.logp), PolicyLoss(clipped_policy_loss, 0.2, 0.2), UpdateSettings()
    )
    assert numbers["grad_norm"] == 0
    assert all(torch.equal(a, b) for a, b in zip(model.model.parameters(), policy.model.parameters(), strict=True))


def test_the_prompt_and_padding_are_not_trained_on(rows, documents):
    trained = trained_tokens(rows)
    for r in range(len(rows)):
        prompt = 1 + len(documents[r // 2].context_ids)
        assert trained[r].nonzero()[:, 0].tolist() == list(range(prompt, int(rows.length[r])))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_step_without_tokens_leaves_everything_as_it_was(policy, rows, aggregation):
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, "adamw", 1.0, weight_decay=0.1)
    nothing = replace(rows, action_mask=torch.zeros_like(rows.action_mask), step=torch.full_like(rows.step, CONTEXT))
    loss = PolicyLoss(clipped_policy_loss, 0.2, 0.2, aggregation=AGGREGATIONS[aggregation])
    learnt = policy_step(model, optimizer, nothing, torch.ones_like(rows.logp), loss, UpdateSettings())
    read = next_token_step(model, optimizer, nothing, UpdateSettings())
    assert learnt["tokens_trained"] == read["tokens_trained"] == 0
    assert all(torch.equal(a, b) for a, b in zip(model.model.parameters(), policy.model.parameters(), strict=True))


@pytest.mark.parametrize("act", ["E-step", "RLVR"] if os.environ.get("RA3_FULL") == "1" else ["E-step"])
def test_at_learning_rate_zero_sampling_and_scoring_stay_together(policy, documents, act):
    """The gap between log-probabilities at sampling and at scoring does not grow over 200 steps that move nothing."""
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, "adamw", 0.0)
    document = replace(documents[0], step_ids=documents[0].step_ids[:2], openings=documents[0].openings[:2], cut=True)
    prompt = list(document.context_ids)[:8]
    gaps = []
    for step in range(200):
        seeds = [2 * step, 2 * step + 1]
        if act == "E-step":
            drawn = interleave(model, [document], 2, LatentRules(2, think_floor=0.5), seeds)
        else:
            drawn = generate(model, [prompt], 2, SamplingParams(3), seeds)
        advantage = torch.tensor([[1.0], [-1.0]]).expand_as(drawn.logp)
        gaps.append(
            policy_step(model, optimizer, drawn, advantage, PolicyLoss(clipped_policy_loss, 0.2, 0.2), UpdateSettings())
        )
    gap = torch.tensor([numbers["logp_gap_max"] for numbers in gaps], dtype=torch.float64)
    first, last = gap[:100], gap[100:]
    assert gap.max() < 1e-5
    assert last.mean() - first.mean() < 4 * (first.var() / 100 + last.var() / 100).sqrt()


def test_a_broken_weight_stops_the_step_and_changes_nothing(policy, rows):
    model = policy.snapshot()
    model.model.model.norm.weight.data[0] = float("nan")
    before = [p.clone() for p in model.model.parameters()]
    optimizer = make_optimizer(model.model, "muon", 0.1)
    with pytest.raises(NotFinite, match="loss nan") as stopped:
        next_token_step(model, optimizer, rows, UpdateSettings())
    assert stopped.value.bad == list(range(len(rows)))
    after = list(model.model.parameters())
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(before, after, strict=True))


def test_advantages_that_are_not_finite_stop_the_step_and_name_their_rows(policy, rows):
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, "adamw", 0.1)
    advantage = rows.action_mask.float()
    advantage[2, rows.action_mask[2].nonzero()[0]] = float("inf")
    with pytest.raises(NotFinite, match="the advantage is not finite") as stopped:
        policy_step(model, optimizer, rows, advantage, PolicyLoss(clipped_policy_loss, 0.2, 0.2), UpdateSettings())
    assert stopped.value.bad == [2]
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), model.model.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_imitation_lowers_the_loss(policy, documents, kind):
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, kind, 3e-3)
    rows = expert_rows(policy, documents)
    losses = [next_token_step(model, optimizer, rows, UpdateSettings())["nll_total"] for _ in range(8)]
    assert losses[-1] < losses[0] - 0.5
