"""The E-step against exact answers on a world whose latents can all be written out.

Two steps, at each boundary `act`, an empty comment, or one of two one-word comments: 4 x 4 latent sequences.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from conftest import make_policy, raise_think_logit

from ra3.actions import ActionSpaces, expert_logp
from ra3.corpus import Document
from ra3.latents import EncodedDocument, encode
from ra3.losses import clipped_policy_loss
from ra3.rollouts import Boundaries, estep_credit
from ra3.rows import COMMENT, DECISION, RowBuilder, build
from ra3.sampler import LatentRules, forced_steps, interleave
from ra3.settings import Estep
from ra3.update import picked_batches, score

ALPHA, NUM_LATENTS, C = 0.6, 3, 0.3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(policy that thinks about half the time and cares for what was thought, document, the two words)."""
    policy = make_policy(tmp_path_factory.mktemp("oracle"), tie_word_embeddings=False)
    torch.manual_seed(3)
    for parameter in policy.model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    words = [policy.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in (" sort", " evens")]
    mask = torch.zeros_like(policy.spaces.comment_mask)
    mask[torch.tensor([*words, policy.syntax.newline_id])] = True
    policy.spaces = ActionSpaces(policy.syntax.think_id, policy.syntax.newline_id, mask)
    document = encode(policy.tokenizer, Document("d", "    return x\n    y = []\n", 'ba = "sort"\n'), policy.syntax)
    assert isinstance(document, EncodedDocument) and all(document.may_think)
    raise_think_logit(policy, [policy.start_id, *document.context_ids], by=6)
    return policy, replace(document, cut=True), words


@pytest.fixture(scope="module")
def sequences(world):
    """All 16 latent sequences as rows."""
    policy, document, words = world
    newline = policy.syntax.newline_id
    choices = [None, [newline], [words[0]], [words[1]]]
    builders = []
    for latents in itertools.product(choices, repeat=2):
        builder = RowBuilder.start(len(builders), [policy.start_id, *document.context_ids])
        for t, (latent, step) in enumerate(zip(latents, forced_steps(document, policy.end_id), strict=True)):
            if latent is not None:
                builder.append(policy.syntax.think_id, t, DECISION, 0.0, 0.0)
                for token in latent:
                    builder.append(token, t, COMMENT, 0.0, 0.0)
                if latent != [newline]:
                    builder.force([newline], t, [0.0], expert=False)
            builder.force(step, t, [0.0] * len(step))
            if latent is None:
                builder.mark_decision(len(builder.ids) - len(step), 0.0)
        builders.append(builder)
    return build(builders)


def log_q_and_likelihood(policy, rows):
    """([16] log q(z), [16] log pi(a | z), with gradient."""
    logq = likelihood = torch.zeros(len(rows))
    for picked in picked_batches(policy, rows, rows.act | rows.expert, 10_000):
        expert = expert_logp(
            picked.scores.logp,
            picked.scores.logp_act,
            picked.of(rows.space),
            picked.of(rows.act),
            picked.of(rows.expert),
        )
        logq = logq.index_add(0, picked.row, torch.where(picked.of(rows.act), picked.scores.logp_act, 0.0))
        likelihood = likelihood.index_add(0, picked.row, expert)
    return logq, likelihood


def log_prior(policy, rows):
    thinks = Boundaries.of(rows, policy.syntax.newline_id).think
    return torch.where(thinks, math.log((1 - ALPHA) / NUM_LATENTS), math.log(ALPHA)).sum(1)


def test_the_latents_are_all_there_is(world, sequences):
    logq, _ = log_q_and_likelihood(world[0], sequences)
    assert logq.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_elbo_never_exceeds_log_p(world, sequences, seed):
    policy = world[0].snapshot()
    torch.manual_seed(seed)
    for parameter in policy.model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    logq, likelihood = log_q_and_likelihood(policy, sequences)
    prior = log_prior(policy, sequences)
    log_p = (prior + likelihood).logsumexp(0)
    elbo = (logq.exp() * (likelihood - logq + prior)).sum()
    assert elbo < log_p
    posterior = (prior + likelihood).log_softmax(0)
    best = (posterior.exp() * (likelihood - posterior + prior)).sum()
    assert best.item() == pytest.approx(log_p.item(), abs=1e-4)


def test_exact_prior_reward_averages_to_the_elbo(world, sequences):
    policy, document, _ = world
    logq, likelihood = log_q_and_likelihood(policy, sequences)
    exact = (logq.exp() * (likelihood - logq + log_prior(policy, sequences))).sum().item()
    config = Estep(alpha=ALPHA, latent_vocab=NUM_LATENTS, group_size=2, format_penalty=0.0)
    rows, credit = rollouts(policy, document, 4000, config)
    total = credit.reward.sum(1)
    assert abs(total.mean() - exact) < 4 * total.std() / len(rows) ** 0.5


def rollouts(policy, document, count, config):
    rows = interleave(
        policy, [document] * (count // config.group_size), config.group_size, LatentRules(1), list(range(count))
    )
    scores = score(policy, rows, rows.expert, 20_000)
    boundaries = Boundaries.of(rows, policy.syntax.newline_id)
    return rows, estep_credit(rows, boundaries, scores, config.group_size, config, C)


def blocks(policy):
    return {name: p.grad.clone().flatten() for name, p in policy.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("estimator", ["leave_one_out", "none"])
def test_policy_gradient_matches_the_enumerated_gradient(world, sequences, estimator):
    """J(q) = E_q[sum_t log pi(a_t | z) - c 1[think]], reward-to-go; the estimates' mean lies within their error."""
    policy, document = world[0].snapshot(), world[1]
    thinks = Boundaries.of(sequences, policy.syntax.newline_id).think.sum(1)
    logq, likelihood = log_q_and_likelihood(policy, sequences)
    value = (logq.exp() * (likelihood.detach() - C * thinks)).sum()
    policy.model.zero_grad()
    value.backward()
    exact = blocks(policy)
    config = Estep(group_size=4, horizon=8, gamma=1.0, format_penalty=0.0, advantage=estimator, comment_baseline="all")
    estimates = [estimated_gradient(policy, document, config, seed) for seed in range(24)]
    powers = []
    for name, gradient in exact.items():
        samples = torch.stack([e[name] for e in estimates])
        direction = gradient / gradient.norm()
        along = samples @ direction
        error = along.std() / len(along) ** 0.5
        assert abs(along.mean() - gradient.norm()) < 4 * error + 1e-6, name
        powers.append(error < gradient.norm() / 2)
    assert estimator == "none" or sum(powers) > len(powers) / 2, "the test has no power"


def estimated_gradient(policy, document, config, seed):
    count = 256
    seeds = list(range(seed * count, (seed + 1) * count))
    rows = interleave(policy, [document] * (count // config.group_size), config.group_size, LatentRules(1), seeds)
    scores = score(policy, rows, rows.expert, 20_000)
    credit = estep_credit(rows, Boundaries.of(rows, policy.syntax.newline_id), scores, config.group_size, config, C)
    policy.model.zero_grad()
    for picked in picked_batches(policy, rows, rows.act, 20_000):
        weight = torch.full_like(picked.scores.logp, -1 / count)
        old, advantage = picked.of(rows.logp_old), picked.of(credit.advantage)
        clipped_policy_loss(picked.scores.logp_act, old, advantage, weight, 0.2, 0.2).backward()
    return blocks(policy)
