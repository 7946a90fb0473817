"""A sharded policy holds shares, and gives what the whole one gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from processes import on_two_ranks

from ra3.config.settings import UpdateSettings
from ra3.em.mstep import next_token_step
from ra3.model.lanes import LaneGradients, local
from ra3.model.sharding import ShardedPolicy
from ra3.model.update import make_optimizer, score
from ra3.rollout.interleave import LatentRules, interleave


def trained(policy, rows, seeds, documents) -> dict[str, torch.Tensor]:
    """Two updates; what is sampled and scored after them, and the weights of policy and copy."""
    optimizer = make_optimizer(policy.model, "adamw", 1e-2)
    for _ in range(2):
        next_token_step(policy, optimizer, rows, UpdateSettings(micro_batch_tokens=150, max_grad_norm=0.1))
    sampled = interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), seeds)
    found = {"ids": sampled.ids, "logp": sampled.logp, "scores": score(policy, rows, rows.valid, 150).logp}
    twin = policy.snapshot()
    next_token_step(twin, make_optimizer(twin.model, "adamw", 1e-2), rows, UpdateSettings())  # a copy of its own
    for name, own in (("policy", policy), ("twin", twin)):
        found |= {f"{name} {key}": whole(value) for key, value in own.learnt.state_dict().items()}
    return found | {f"moment {i}": whole(x["exp_avg"]) for i, x in optimizer.state_dict()[0]["state"].items()}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that may be spread over the ranks, on each of them."""
    return getattr(tensor, "full_tensor", lambda: tensor)()


@pytest.mark.timeout(300)
def test_two_shares_are_one_model(tmp_path, policy, documents):
    policy, seeds = replace(policy, lanes=4), list(range(16))
    rows = interleave(replace(policy, lanes=1), documents, 2, LatentRules(4, think_floor=0.4), seeds)

    def work() -> dict:
        sharded = ShardedPolicy.of(policy.snapshot())
        held = sum(local(p).numel() for p in sharded.model.parameters()) / sharded.num_parameters
        return {"held": held, **trained(sharded, rows, seeds, documents)}

    both = on_two_ranks(tmp_path, work)
    alone = trained(policy.snapshot(), rows, seeds, documents)
    for found in both:
        assert 0.45 < found.pop("held") < 0.55
        assert found.keys() == alone.keys()
        assert [name for name in alone if not torch.equal(alone[name], found[name])] == []


def test_another_order_of_adding_up_changes_the_last_digits(policy, documents, monkeypatch):
    """So that ranks agree to the bit is no accident: lanes one after the other give other weights than their tree."""

    def one_after_the_other(self) -> None:
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        self._total = [a + b for a, b in zip(self._total, found, strict=True)] if self._total else found
        for p in self._parameters:
            p.grad = None

    rows = interleave(policy, documents, 2, LatentRules(4, think_floor=0.4), list(range(16)))

    def weights() -> list[torch.Tensor]:
        twin = replace(policy, lanes=4).snapshot()
        next_token_step(twin, make_optimizer(twin.model, "adamw", 1e-2), rows, UpdateSettings())
        return [p.detach() for p in twin.model.parameters()]

    tree = weights()
    assert all(map(torch.equal, tree, weights()))
    monkeypatch.setattr(LaneGradients, "take", one_after_the_other)
    sequence = weights()
    assert not all(map(torch.equal, tree, sequence))
    gaps = [(a - b).abs().mean() for a, b in zip(tree, sequence, strict=True)]
    assert max(gaps) < 1e-3
