"""The best latent policy that does not see its step, returns with a horizon, and EM with a tabular policy."""

import itertools

import numpy as np
import pytest
import torch
from chains import posterior, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3.rl.credit import returns
from theory import chain
from theory.causal import (
    TabularPolicy,
    best_causal,
    causal_gap,
    document_probability,
    mean_elbo,
    prefix_ids,
    random_policy,
)
from theory.elbo import elbo, step_scores


def world(seed, num_docs=None, alpha=0.7, spread=1.5, steps=3):
    """(policy, prior, documents [N,T], weights [N], log_lik [N,T,Z])."""
    rng = np.random.default_rng(seed)
    policy = random_policy(3, 2, 2, spread, rng)
    docs = chain.every_sequence(2, steps)
    docs = docs if num_docs is None else docs[rng.choice(len(docs), num_docs, replace=False)]
    weights = rng.dirichlet(np.ones(len(docs)))
    return policy, chain.sticky_prior(alpha, 2, steps), docs, weights, policy.log_lik(docs)


def test_documents_are_a_distribution():
    policy, prior, docs, _, _ = world(0, steps=5)
    assert document_probability(policy, prior, docs).sum() == pytest.approx(1, abs=1e-13)


def test_prefixes_by_hand():
    docs = np.array([[0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 1, 1]])
    ids = prefix_ids(docs)
    assert ids[:, 0].tolist() == [0, 0, 0, 0]
    assert ids[:, 1].tolist() == [0, 0, 1, 0]
    assert ids[1, 2] == ids[3, 2] and len(set(ids[:, 2])) == 3


def best_by_search(log_lik, prior, docs, weights, tries=300):
    """The highest mean ELBO that random search finds among causal latent policies, started at the claimed best."""
    rng, ids = np.random.default_rng(1), prefix_ids(docs)
    q = best_causal(log_lik, prior, docs, weights)
    best = claimed = mean_elbo(log_lik, prior, q, weights)
    for size in itertools.islice(itertools.cycle((1e-3, 1e-2, 0.1, 1.0)), tries):
        noise = np.stack([rng.normal(size=(ids.max() + 1, *q.shape[2:]))[ids[:, t]] for t in range(q.shape[1])], axis=1)
        moved = q * np.exp(size * noise)
        moved /= moved.sum(axis=-1, keepdims=True)
        best = max(best, mean_elbo(log_lik, prior, moved, weights))
    return claimed, best


@pytest.mark.parametrize("seed", range(4))
def test_no_causal_latent_policy_is_better(seed):
    _, prior, docs, weights, log_lik = world(seed)
    claimed, best = best_by_search(log_lik, prior, docs, weights)
    assert best <= claimed + 1e-12


def test_two_documents_by_hand():
    """One step, two documents, each latent writes one of them with 9/10: blind q gains nothing, the posterior does."""
    docs, weights = np.array([[0], [1]]), np.array([0.5, 0.5])
    log_lik = np.log([[[0.9, 0.1]], [[0.1, 0.9]]])
    prior = chain.sticky_prior(0.5, 2, 1)
    np.testing.assert_allclose(best_causal(log_lik, prior, docs, weights)[:, 0], 0.5)
    assert causal_gap(log_lik, prior, docs, weights) == pytest.approx(np.log(0.5) - 0.5 * np.log(0.09), abs=1e-14)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_the_gap_is_what_not_seeing_costs(seed, num_docs):
    """Never negative, and it is the mean KL from the smoothing posterior."""
    _, prior, docs, weights, log_lik = world(seed, num_docs)
    gap = causal_gap(log_lik, prior, docs, weights)
    q = best_causal(log_lik, prior, docs, weights)
    sequences = chain.every_sequence(2, 3)
    kls = []
    for one, kernel in zip(log_lik, q, strict=True):
        logq = chain.log_probability(sequences, kernel)
        logp = chain.log_probability(sequences, chain.posterior_kernel(one, prior))
        kls.append(np.exp(logq) @ (logq - logp))
    assert gap == pytest.approx(weights @ np.array(kls), abs=1e-10)
    assert gap >= -1e-12


def test_a_document_that_is_the_only_one_is_seen_through_its_prefix():
    _, prior, docs, _, log_lik = world(1, num_docs=1)
    assert causal_gap(log_lik, prior, docs, np.ones(1)) == pytest.approx(0, abs=1e-12)
    q = best_causal(log_lik, prior, docs, np.ones(1))
    np.testing.assert_allclose(q, chain.posterior_kernel(log_lik, prior), atol=1e-12)


def test_a_horizon_is_the_fixed_point_of_truncated_returns():
    """No single boundary can raise its own discounted, truncated return: slopes in its logits vanish."""
    _, prior, docs, weights, log_lik = world(5, num_docs=1, steps=4)
    gamma, horizon = 0.8, 2
    q = best_causal(log_lik, prior, docs, weights, gamma, horizon)[0]
    sequences = chain.every_sequence(2, 4)
    before = np.concatenate([np.zeros_like(sequences[:, :1]), sequences[:, :-1]], axis=1)

    def own_return(t, kernel):
        scores = step_scores(log_lik[0], prior, kernel)[np.arange(4), before, sequences]
        own = returns(torch.from_numpy(scores), gamma, horizon).numpy()[:, t]
        return np.exp(chain.log_probability(sequences, kernel)) @ own

    for t, row in itertools.product(range(4), range(2)):
        values = []
        for step in (-1e-4, 0.0, 1e-4):
            moved = q.copy()
            moved[t, row] = moved[t, row] * np.exp([step, 0.0])
            moved[t, row] /= moved[t, row].sum()
            values.append(own_return(t, moved))
        assert abs(values[2] - values[0]) < 1e-9
        assert values[1] >= max(values) - 1e-12


def test_shorter_horizons_never_gain():
    _, prior, docs, weights, log_lik = world(6, steps=4)
    full = mean_elbo(log_lik, prior, best_causal(log_lik, prior, docs, weights), weights)
    for horizon, gamma in itertools.product((1, 2, 3, 4), (0.0, 0.5, 1.0)):
        q = best_causal(log_lik, prior, docs, weights, gamma, horizon)
        assert mean_elbo(log_lik, prior, q, weights) <= full + 1e-12
    same = best_causal(log_lik, prior, docs, weights, 1.0, 4)
    assert mean_elbo(log_lik, prior, same, weights) == pytest.approx(full, abs=1e-13)
    with pytest.raises(ValueError, match="horizon of 0"):
        best_causal(log_lik, prior, docs, weights, horizon=0)


def expected_counts(policy, actions, weights, latent_marginals):
    """[S,Z,A] how often each action is written in each state under each latent, latents weighted by q [N,T,Z]."""
    counts = np.zeros(policy.logits.transpose(0, 2, 1).shape)
    np.add.at(counts, (policy.states(actions), actions), weights[:, None, None] * latent_marginals)
    return counts.transpose(0, 2, 1)


def annotated_counts(policy, actions, latents):
    """[S,Z,A] counts in documents [N,T] annotated with one latent a step [N,T]; their mean is `expected_counts`."""
    counts = np.zeros(policy.logits.shape)
    np.add.at(counts, (policy.states(actions), latents, actions), 1.0)
    return counts


def policy_gradient(policy, counts):
    """[S,Z,A] gradient of sum counts log pi in the logits: counts - pi sum_a counts."""
    return counts - policy.probability * counts.sum(axis=-1, keepdims=True)


def m_step(policy, counts):
    """pi(a | s, z) = counts(s,z,a) / sum_a counts(s,z,a): the exact maximum; rows never visited stay as they are."""
    total = counts.sum(axis=-1, keepdims=True)
    share = np.divide(counts, total, out=policy.probability.copy(), where=total > 0)
    return TabularPolicy(chain.log(share), policy.moves)


def em_round(policy, prior, actions, weights):
    """One round of EM with the exact posterior."""
    return m_step(policy, expected_counts(policy, actions, weights, posterior(policy.log_lik(actions), prior)))


def test_annotated_counts_are_the_exact_m_step_in_expectation():
    """Counts over all annotations weighted by q are the expected counts; sampled ones agree within 4 errors."""
    policy, prior, docs, _, log_lik = world(7, num_docs=1)
    q = chain.posterior_kernel(log_lik, prior)[0]
    sequences = chain.every_sequence(2, 3)
    share = np.exp(chain.log_probability(sequences, q))
    by_hand = sum(s * annotated_counts(policy, docs, z[None]) for s, z in zip(share, sequences, strict=True))
    exact = expected_counts(policy, docs, np.ones(1), chain.marginals(q)[None])
    np.testing.assert_allclose(by_hand, exact, atol=1e-13)
    drawn = sample(q, 20_000, np.random.default_rng(0))
    mean = annotated_counts(policy, np.repeat(docs, 20_000, axis=0), drawn) / 20_000
    assert np.abs(mean - exact).max() < 4 * np.sqrt(len(q) * 0.25 / 20_000)


def test_the_gradient_of_the_evidence_in_the_policy():
    policy, prior, docs, weights, log_lik = world(8)

    def evidence(logits):
        moved = type(policy)(logits, policy.moves)
        return weights @ chain.log_evidence(moved.log_lik(docs), prior)

    exact = policy_gradient(policy, expected_counts(policy, docs, weights, posterior(log_lik, prior)))
    for index in np.ndindex(policy.logits.shape):
        step = np.zeros_like(policy.logits)
        step[index] = 1e-5
        slope = (evidence(policy.logits + step) - evidence(policy.logits - step)) / 2e-5
        assert exact[index] == pytest.approx(slope, abs=1e-8)


def test_em_climbs_and_its_m_step_is_the_maximum():
    policy, prior, docs, weights, log_lik = world(9)
    counts = expected_counts(policy, docs, weights, posterior(log_lik, prior))
    assert np.abs(policy_gradient(m_step(policy, counts), counts)).max() < 1e-12
    evidence = [weights @ chain.log_evidence(log_lik, prior)]
    for _ in range(30):
        policy = em_round(policy, prior, docs, weights)
        evidence.append(weights @ chain.log_evidence(policy.log_lik(docs), prior))
    assert np.diff(evidence).min() > -1e-12 and evidence[-1] > evidence[0] + 0.05


def test_a_blind_q_still_climbs_its_own_bound():
    """With the best causal q in place of the posterior, every half step raises the mean ELBO."""
    policy, prior, docs, weights, _ = world(10)
    bounds = []
    for _ in range(20):
        log_lik = policy.log_lik(docs)
        q = best_causal(log_lik, prior, docs, weights)
        bounds.append(mean_elbo(log_lik, prior, q, weights))
        policy = m_step(policy, expected_counts(policy, docs, weights, chain.marginals(q)))
        bounds.append(float(weights @ elbo(policy.log_lik(docs), prior, q)))
    assert np.diff(bounds).min() > -1e-12
