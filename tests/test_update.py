"""One step of learning: the result does not depend on packing, micro-batches or row order; bad numbers stop it."""

from __future__ import annotations

import pytest
import torch

from ra3.batches import micro_batches
from ra3.errors import UserError
from ra3.losses import clipped_policy_loss, next_token_loss
from ra3.mstep import next_token_step, trained_tokens
from ra3.optimizers import make_optimizer
from ra3.rl_step import PolicyLoss, policy_step
from ra3.rows import concatenate
from ra3.sampler import LatentRules, expert_rows, interleave
from ra3.settings import Update
from ra3.update import fit, score


@pytest.fixture(scope="module")
def rows(policy, documents):
    return interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), list(range(16)))


def gradient(policy, rows, max_tokens, loss):
    """The gradient of one step, read off an optimiser that does not move."""
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, "adamw", 0.0)
    advantage = torch.linspace(-1, 1, len(rows))[:, None].expand_as(rows.logp)
    acted = rows.act if loss == "policy" else trained_tokens(rows)

    def loss_fn(picked):
        weight = torch.full_like(picked.scores.logp, 1 / float(acted.sum()))
        if loss == "ntp":
            return next_token_loss(picked.scores.logp, weight)
        old, own = picked.of(rows.logp_old), picked.of(advantage)
        return clipped_policy_loss(picked.scores.logp_act, old, own, weight, 0.2, 0.2)

    _, numbers = fit(model, optimizer, rows, acted, loss_fn, max_tokens, max_grad_norm=float("inf"))
    return numbers["loss"], torch.cat([p.grad.flatten() for p in model.model.parameters()])


@pytest.mark.parametrize("loss", ["policy", "ntp"])
@pytest.mark.parametrize("max_tokens", [1, 150, 400, 10_000])
def test_packing_and_micro_batches_change_nothing(policy, rows, loss, max_tokens):
    value, reference = gradient(policy, rows, 100_000, loss)
    other_value, other = gradient(policy, rows, max_tokens, loss)
    assert other_value == pytest.approx(value, abs=1e-6)
    assert (other - reference).abs().max() < 1e-6


def test_padding_changes_nothing(policy, rows):
    short = rows.select(slice(0, 4))
    padded = concatenate([short, rows]).select(slice(0, 4))
    a, b = gradient(policy, short, 500, "ntp")[1], gradient(policy, padded, 500, "ntp")[1]
    assert (a - b).abs().max() < 1e-6


def test_every_token_is_packed_once(rows):
    seen = torch.zeros_like(rows.ids)
    for packed in micro_batches(rows, 300):
        real = packed.row >= 0
        seen[packed.row[real], packed.positions[real]] += 1
        assert torch.equal(rows.ids[packed.row[real], packed.positions[real]], packed.ids[real])
    assert torch.equal(seen, rows.valid.long())


def test_packed_scores_are_the_models_own(policy, rows):
    scores = score(policy, rows, rows.valid, 400)
    for r in range(4):
        ids = torch.tensor(rows.tokens(r))
        logp = policy.model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
        assert (scores.logp[r, 1 : len(ids)] - logp).abs().max() < 1e-5


def test_an_update_without_signal_leaves_everything_as_it_was(policy, rows):
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, "adamw", 1.0, weight_decay=0.1)
    numbers = policy_step(model, optimizer, rows, torch.zeros_like(rows.logp), PolicyLoss("clip", 0.2, 0.2), Update())
    assert numbers["grad_norm"] == 0
    assert all(torch.equal(a, b) for a, b in zip(model.model.parameters(), policy.model.parameters(), strict=True))


def test_a_broken_weight_stops_the_step_and_changes_nothing(policy, rows):
    model = policy.snapshot()
    model.model.model.norm.weight.data[0] = float("nan")
    before = [p.clone() for p in model.model.parameters()]
    optimizer = make_optimizer(model.model, "muon", 0.1)
    with pytest.raises(UserError, match="loss nan"):
        next_token_step(model, optimizer, rows, Update())
    after = list(model.model.parameters())
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_imitation_lowers_the_loss(policy, documents, kind):
    model = policy.snapshot()
    optimizer = make_optimizer(model.model, kind, 3e-3)
    rows = expert_rows(policy, documents)
    losses = [next_token_step(model, optimizer, rows, Update())["nll_total"] for _ in range(8)]
    assert losses[-1] < losses[0] - 0.5
