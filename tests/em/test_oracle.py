"""The E-step's bound and prices against exact answers, on the world of tests/em/latent_world.py."""

from __future__ import annotations

import math

import pytest
import torch
from latent_world import ALPHA, NUM_LATENTS, SEQUENCES, G, disturb, log_prior

from ra3.config.settings import EstepSettings
from ra3.model.action_spaces import step_logp
from ra3.model.update import score


def log_q_and_likelihood(policy, rows):
    """([9] log q(z), [9] log pi(a | z)) under one policy."""
    scores = score(policy, rows, rows.action_mask | rows.expert, 10_000)
    expert = step_logp(scores.logp, scores.logp_action, rows)
    return torch.where(rows.action_mask, scores.logp_action, 0.0).sum(1), expert.sum(1)


def test_the_latents_are_all_there_is(world):
    assert world.logp.sum(1).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_elbo_never_exceeds_log_p(world, seed):
    policy = world.q.snapshot()
    disturb(policy, 0.2, seed)
    logq, likelihood = log_q_and_likelihood(policy, world.rows)
    prior = log_prior(world)
    log_p = (prior + likelihood).logsumexp(0)
    elbo = (logq.exp() * (likelihood - logq + prior)).sum()
    assert elbo < log_p
    posterior = (prior + likelihood).log_softmax(0)
    best = (posterior.exp() * (likelihood - posterior + prior)).sum()
    assert best.item() == pytest.approx(log_p.item(), abs=1e-4)


def test_exact_prior_reward_averages_to_the_elbo(world, rollouts):
    logq, prior = world.logp.sum(1), log_prior(world)
    _, likelihood = log_q_and_likelihood(world.pi, world.rows)
    exact = (logq.exp() * (likelihood - logq + prior)).sum()
    config = EstepSettings(exact_prior=(ALPHA, NUM_LATENTS), group_size=G, format_penalty=0.0)
    rows, index = rollouts
    total = world.credit(index, config, rows).reward.sum(1)
    assert abs(total.mean() - exact) < 4 * total.std() / len(rows) ** 0.5
    assert total.std() / len(rows) ** 0.5 < 0.05 * abs(exact), "the test has no power"


def test_the_switch_penalty_is_the_exact_prior_without_its_entropy(world):
    """With c = log(alpha / (1 - alpha)) + log|Z|, the exact prior's reward is c's minus log q, up to a constant."""
    index = torch.arange(SEQUENCES)
    config = EstepSettings(group_size=1, advantage="none", format_penalty=0.0)
    exact = config.model_copy(update={"exact_prior": (ALPHA, NUM_LATENTS)})
    c = math.log(ALPHA / (1 - ALPHA)) + math.log(NUM_LATENTS)
    with_c = world.credit(index, config, world.rows, penalty=c).reward.sum(1)
    with_prior = world.credit(index, exact, world.rows).reward.sum(1)
    boundaries = 2
    assert torch.allclose(with_prior, with_c - world.logp.sum(1) + boundaries * math.log(ALPHA), atol=1e-5)
