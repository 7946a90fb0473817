"""Every estimator against its exact expectation: unbiased where it claims to be, elsewhere as biased as the docs say.

The expectations are finite sums over all groups of rollouts; the engine's sampler and its update must keep to them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from estimator_table import DRIFT, ESTIMATORS, FLOOR
from exact_moments import annotated_gradients, coefficients, exact_gradient, moments, mstep_moments, sampler_error
from latent_world import SEQUENCES, C, G, log_prior, sample

from ra3.config.settings import MidtrainSettings, UpdateSettings
from ra3.em.annotate import annotate
from ra3.em.mstep import next_token_step
from ra3.model.update import make_optimizer
from ra3.rl.credit import Boundaries
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import clipped_policy_loss
from ra3.rollout.interleave import LatentRules

DOCS = Path(__file__).parents[2] / "docs/estimators.md"
BY_NAME = {e.name: e for e in ESTIMATORS}
UNCLIPPED = UpdateSettings(max_grad_norm=float("inf"))
each = pytest.mark.parametrize("name", BY_NAME)


@pytest.fixture(scope="module")
def moved(world):
    return world.moved(DRIFT)


@pytest.fixture(scope="module")
def measured(world, moved):
    """Moments of every estimator."""
    return {e.name: moments(moved if e.drifts else world, e) for e in ESTIMATORS}


@pytest.fixture(scope="module")
def drawn(world, rollouts):
    """Rollouts of the engine's sampler by think floor."""
    return {0.0: rollouts, FLOOR: sample(world, 900, LatentRules(2, FLOOR))}


def documented():
    """{estimator: (what it is, scale, angle)} as the docs have it."""
    rows = re.findall(r"^\| (.+?) \| (unbiased|biased) \| ([\d.]+) \| ([\d.]+) \|", DOCS.read_text(), re.M)
    return {name: (claim, float(scale), float(angle)) for name, claim, scale, angle in rows}


@pytest.mark.parametrize("prior", [False, True])
def test_the_exact_gradient_is_that_of_the_objective(world, prior):
    """Autograd through E_q[log pi(a | z) - c 1[think]], and through the ELBO with log q inside, at the same weights."""
    name = "exact prior, of the ELBO" if prior else "leave_one_out"
    logq = world.token_logps().sum(1)
    alone = BY_NAME["leave_one_out"].config.model_copy(update={"group_size": 1})
    credit = world.credit(torch.arange(SEQUENCES), alone, world.rows)
    thinks = Boundaries.of(world.rows, world.q.spaces).think.sum(1)
    cost = logq - log_prior(world) if prior else C * thinks
    value = (logq.exp() * (credit.likelihood.sum(1) - cost)).sum()
    parts = torch.autograd.grad(value, list(world.q.model.parameters()))
    truth = torch.cat([part.flatten() for part in parts])
    ours = exact_gradient(world, BY_NAME[name].target)
    assert (ours - truth).norm() < 1e-4 * truth.norm()


@pytest.mark.parametrize("name", [e.name for e in ESTIMATORS if e.unbiased])
def test_unbiased_estimators_are_unbiased_in_every_block(world, measured, name):
    m = measured[name]
    for block in world.blocks.values():
        assert (m.mean[block] - m.exact[block]).norm() < 1e-4 * m.exact.norm()


@each
def test_bias_is_as_documented(measured, name):
    claim, scale, angle = documented()[name]
    m, estimator = measured[name], BY_NAME[name]
    assert claim == ("unbiased" if estimator.unbiased else "biased")
    assert m.scale == pytest.approx(scale, abs=2e-3) and m.angle == pytest.approx(angle, abs=0.1)
    assert estimator.unbiased or abs(m.scale - 1) > 0.005 or m.angle > 0.1


@each
def test_the_sampler_keeps_to_the_expectation(world, moved, measured, drawn, name):
    """The mean over the engine's own rollouts, block by block of the parameters, within its standard error."""
    estimator, place = BY_NAME[name], moved if BY_NAME[name].drifts else world
    mean = measured[name].mean
    error = sampler_error(place, estimator, drawn[estimator.floor], mean, along=mean)
    assert error.abs().max() < 4


def test_the_sampler_would_show_the_bias_of_group_std(world, measured, rollouts):
    """The same test has the power to tell group_std's gradient, at its own scale, from the exact one."""
    m = measured["group_std"]
    unbiased = m.scale * m.exact
    error = sampler_error(world, BY_NAME["group_std"], rollouts, unbiased, along=m.mean - unbiased)
    assert error.abs().max() > 5


def test_noise_is_what_the_baseline_takes_away(measured):
    assert measured["leave_one_out"].noise < measured["none"].noise / 20


def test_group_mean_is_leave_one_out_times_a_factor(measured):
    ours = measured["group_mean"].mean
    assert (ours - (G - 1) / G * measured["leave_one_out"].mean).norm() < 1e-4 * ours.norm()


def frozen_gradient(policy, step):
    """The gradient that `step(policy, optimizer)` computes, of a copy that does not move."""
    twin = policy.snapshot()
    step(twin, make_optimizer(twin.model, "adamw", 0.0))
    return torch.cat([p.grad.flatten() for p in twin.model.parameters()])


def test_a_policy_step_takes_the_estimators_gradient(world):
    """Rows -> packed forward passes -> loss -> backward gives what the sums above are made of."""
    estimator = BY_NAME["token mean, one group a batch"]
    index = torch.tensor([[0, 4, 8]])
    rows = world.rows.select(index[0])
    advantage = world.credit(index, estimator.config, rows).advantage
    loss = PolicyLoss(clipped_policy_loss, 0.2, 0.2)
    taken = frozen_gradient(world.q, lambda q, o: policy_step(q, o, rows, advantage, loss, UNCLIPPED))
    expected = -world.gradient(coefficients(world, estimator, rows, index)[0])
    assert (taken - expected).norm() < 1e-5 * expected.norm()


def test_the_m_step_on_annotated_data_is_the_exact_one_in_expectation(world):
    """`annotate` draws from q, and `next_token_step` on many annotated copies is the gradient of E_q[log pi(a, z)]."""
    copies = 600
    documents = [replace(world.document, document=replace(world.document.document, id=str(i))) for i in range(copies)]
    config = MidtrainSettings.model_validate({"estep": {"max_latent_tokens": 2}})
    rows = annotate(world.q, world.pi, documents, config, UpdateSettings(), 0, 0)
    gradients, tokens = annotated_gradients(world)
    probability = world.logp.sum(1).exp()
    taken = -frozen_gradient(world.q, lambda q, o: next_token_step(q, o, rows, UNCLIPPED))
    mean_tokens = probability @ tokens
    exact = probability @ gradients / mean_tokens
    one = (gradients - tokens[:, None] * exact) / mean_tokens
    for name, block in world.blocks.items():
        along = one[:, block] @ (exact[block] / exact[block].norm())
        error = (probability @ along.square() / copies).sqrt()
        assert abs((taken - exact)[block] @ exact[block] / exact[block].norm()) < 4 * error + 1e-6, name
        assert error < exact[block].norm(), "the test has no power"


def test_m_steps_are_as_documented(world):
    for kind in ("sum", "token mean", "best"):
        claim, scale, angle = documented()[f"M-step: {kind}"]
        m = mstep_moments(world, kind)
        assert m.scale == pytest.approx(scale, abs=2e-3) and m.angle == pytest.approx(angle, abs=0.1)
        assert (claim == "unbiased") == (m.angle < 0.05 and abs(m.scale - 1) < 1e-3)
