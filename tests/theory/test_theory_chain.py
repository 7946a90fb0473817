"""The oracle against brute force over every latent sequence, hand-computed numbers and finite differences."""

import math

import numpy as np
import pytest
from chains import posterior, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import chain
from theory.elbo import (
    action_values,
    alpha_from_cost,
    cost_from_alpha,
    elbo,
    exact_switch_cost,
    expected,
    latent_gradient,
    priced,
    step_scores,
)

worlds = st.builds(
    lambda seed, steps, latents, alpha: random_world(seed, steps, latents, alpha),
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from((0.0, 0.3, 0.9, 0.999)),
)


def random_world(seed, steps=3, latents=3, alpha=0.6):
    """(log_lik [T,Z], sticky prior [T,Z,Z], random q [T,Z,Z])."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(latents), size=(steps, latents))
    return rng.normal(-2, 1.5, size=(steps, latents)), chain.sticky_prior(alpha, latents, steps), q


def brute_force(log_lik, prior):
    """(all latent sequences [N,T], log p(a, z) of each [N])."""
    sequences = chain.every_sequence(log_lik.shape[1], log_lik.shape[0])
    return sequences, chain.log_probability(sequences, prior) + chain.log_likelihood(sequences, log_lik)


def test_two_steps_by_hand():
    """alpha = 1/2, two latents: keep with 3/4. Likelihoods (1/2, 1/4), then (1/8, 1)."""
    log_lik = np.log([[0.5, 0.25], [0.125, 1.0]])
    prior = chain.sticky_prior(0.5, 2, 2)
    np.testing.assert_allclose(prior[1], [[0.75, 0.25], [0.25, 0.75]])
    paths = [0.5 * 0.5 * 0.75 * 0.125, 0.5 * 0.5 * 0.25, 0.5 * 0.25 * 0.25 * 0.125, 0.5 * 0.25 * 0.75]
    assert math.exp(chain.log_evidence(log_lik, prior)) == pytest.approx(sum(paths), rel=1e-14)
    smoothed = posterior(log_lik, prior)
    assert smoothed[0, 0] == pytest.approx((paths[0] + paths[1]) / sum(paths), rel=1e-14)
    assert smoothed[1, 1] == pytest.approx((paths[1] + paths[3]) / sum(paths), rel=1e-14)


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_forward_backward_is_enumeration(world):
    log_lik, prior, _ = world
    sequences, joint = brute_force(log_lik, prior)
    evidence = chain.logsumexp(joint)
    assert chain.log_evidence(log_lik, prior) == pytest.approx(evidence, abs=1e-11)
    share = np.exp(joint - evidence)
    by_hand = np.stack(
        [[share[sequences[:, t] == z].sum() for z in range(log_lik.shape[1])] for t in range(len(log_lik))]
    )
    np.testing.assert_allclose(posterior(log_lik, prior), by_hand, atol=1e-12)
    exact = chain.posterior_kernel(log_lik, prior)
    np.testing.assert_allclose(chain.marginals(exact), by_hand, atol=1e-12)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.exp(chain.log_probability(sequences, exact)), share, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_the_elbo_is_its_definition_and_a_bound(world):
    log_lik, prior, q = world
    sequences, joint = brute_force(log_lik, prior)
    logq = chain.log_probability(sequences, q)
    assert elbo(log_lik, prior, q) == pytest.approx(expected(np.exp(logq), joint - logq), abs=1e-10)
    evidence = chain.log_evidence(log_lik, prior)
    assert elbo(log_lik, prior, q) <= evidence + 1e-10
    exact = chain.posterior_kernel(log_lik, prior)
    assert elbo(log_lik, prior, exact) == pytest.approx(evidence, abs=1e-10)
    gap = expected(np.exp(logq), logq - (joint - evidence))
    assert evidence - elbo(log_lik, prior, q) == pytest.approx(gap, abs=1e-10)


def test_no_stickiness_makes_steps_independent():
    log_lik, prior, _ = random_world(1, steps=4, alpha=0.0)
    assert chain.log_evidence(log_lik, prior) == pytest.approx(np.log(np.exp(log_lik).mean(axis=1)).sum(), abs=1e-12)


def test_full_stickiness_is_one_latent_per_document():
    """alpha = 1: a mixture over whole documents, the latent variable of BRiTE."""
    log_lik, prior, _ = random_world(2, steps=4, alpha=1.0)
    assert chain.log_evidence(log_lik, prior) == pytest.approx(np.log(np.exp(log_lik.sum(axis=0)).mean()), abs=1e-12)
    assert elbo(log_lik, prior, chain.posterior_kernel(log_lik, prior)) == pytest.approx(
        chain.log_evidence(log_lik, prior), abs=1e-12
    )


def test_sticking_to_no_intention_is_next_token_prediction():
    """alpha = 1 with the first latent kept: every step is written under latent 0."""
    log_lik = random_world(3, steps=4)[0]
    prior = chain.sticky_prior(1.0, 3, 4, keep_first=True)
    assert chain.log_evidence(log_lik, prior) == pytest.approx(log_lik[:, 0].sum(), abs=1e-12)


def test_documents_can_be_batched():
    log_lik = np.random.default_rng(0).normal(size=(5, 2, 4, 3))
    prior = chain.sticky_prior(0.7, 3, 4)
    each = [[chain.log_evidence(one, prior) for one in row] for row in log_lik]
    np.testing.assert_allclose(chain.log_evidence(log_lik, prior), each, atol=1e-13)
    q = chain.posterior_kernel(log_lik, prior)
    np.testing.assert_allclose(elbo(log_lik, prior, q), each, atol=1e-12)


def numeric_gradient(function, at, step=1e-5):
    """Central differences of a scalar function at an array."""
    slopes = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * step
            slopes[index] += sign * function(moved) / (2 * step)
    return slopes


def softmax(logits):
    return np.exp(logits - chain.logsumexp(logits)[..., None])


def test_gradients_are_the_slopes():
    log_lik, prior, _ = random_world(4)
    logits = np.random.default_rng(5).normal(size=prior.shape)
    q = softmax(logits)
    slopes = numeric_gradient(lambda x: elbo(log_lik, prior, softmax(x)), logits)
    np.testing.assert_allclose(latent_gradient(log_lik, prior, q), slopes, atol=1e-8)
    slopes = numeric_gradient(lambda x: elbo(x, prior, q), log_lik)
    np.testing.assert_allclose(chain.marginals(q), slopes, atol=1e-8)
    slopes = numeric_gradient(lambda x: chain.log_evidence(x, prior), log_lik)
    np.testing.assert_allclose(posterior(log_lik, prior), slopes, atol=1e-8)


def test_the_gradient_vanishes_at_the_posterior_and_only_there():
    log_lik, prior, q = random_world(6)
    exact = chain.posterior_kernel(log_lik, prior)
    assert np.abs(latent_gradient(log_lik, prior, exact)).max() < 1e-12
    assert np.abs(latent_gradient(log_lik, prior, q)).max() > 0.01


def test_action_values_are_mean_returns():
    """The reward-to-go of sampled latents has the action value as its mean, within 4 standard errors."""
    log_lik, prior, q = random_world(7)
    scores = step_scores(log_lik, prior, q)
    latents = sample(q, 40_000, np.random.default_rng(8))
    before = np.concatenate([np.zeros_like(latents[:, :1]), latents[:, :-1]], axis=1)
    rewards = scores[np.arange(3), before, latents]
    picked = (before[:, 1] == 2) & (latents[:, 1] == 1)
    returns = rewards[picked, 1:].sum(axis=1)
    assert abs(returns.mean() - action_values(scores, q)[1, 2, 1]) < 4 * returns.std() / math.sqrt(len(returns))


def test_a_price_with_entropy_is_a_sticky_prior():
    for cost in (0.0, 0.05, 1.0, 4.0):
        alpha = alpha_from_cost(cost, 5)
        assert cost_from_alpha(alpha, 5) == pytest.approx(cost, abs=1e-12)
        np.testing.assert_allclose(priced(cost, 5, 3), chain.sticky_prior(alpha, 5, 3), atol=1e-14)
    assert alpha_from_cost(math.log(2), 1) == pytest.approx(0.5)
    assert exact_switch_cost(0.5, 8) == pytest.approx(math.log(8))
    assert cost_from_alpha(0.5, 8) == pytest.approx(math.log(9))
