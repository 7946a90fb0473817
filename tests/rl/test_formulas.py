"""Rewards, returns, advantages and losses by hand-computable numbers and identities."""

from __future__ import annotations

import math

import pytest
import torch

from ra3.model.action_spaces import decision_logps, entropy
from ra3.model.update import warmup_cosine
from ra3.rl.advantages import (
    ESTIMATORS,
    batch_std,
    dead_groups,
    group_mean,
    group_std,
    iwae,
    leave_one_out,
    no_baseline,
)
from ra3.rl.credit import exact_prior_cost, likelihood, returns, step_sums, switch_cost
from ra3.rl.losses import (
    AGGREGATIONS,
    POLICY_LOSSES,
    cispo_loss,
    clip_share,
    clipped_policy_loss,
    constant,
    next_token_loss,
    sequence_mean,
    token_mean,
)
from ra3.seeds import batch_of

ALL = torch.ones(1, 4, dtype=torch.bool)
ONE_PASSES = torch.tensor([[1.0, 0.0, 0.0, 0.0]])


def test_step_sums_drop_the_context():
    values, seg = torch.tensor([[9.0, 1.0, 2.0, 4.0]]), torch.tensor([[-1, 0, 0, 1]])
    assert step_sums(values, seg, 3).tolist() == [[3.0, 4.0, 0.0]]


def test_likelihood_sums_or_averages_a_steps_tokens():
    logp, seg = torch.tensor([[-1.0, -3.0, -5.0]]), torch.tensor([[0, 0, 1]])
    expert = torch.tensor([[True, True, True]])
    assert likelihood(logp, expert, seg, 2, "sum").tolist() == [[-4.0, -5.0]]
    assert likelihood(logp, expert, seg, 2, "mean").tolist() == [[-2.0, -5.0]]


def test_returns():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    assert returns(rewards, gamma=1.0, horizon=1).tolist() == [[1.0, 2.0, 4.0]]
    assert returns(rewards, gamma=1.0, horizon=2).tolist() == [[3.0, 6.0, 4.0]]
    assert returns(rewards, gamma=0.5, horizon=9).tolist() == [[3.0, 4.0, 4.0]]
    assert returns(rewards, gamma=0.0, horizon=9).tolist() == rewards.tolist()


def test_switch_cost_is_paid_only_for_thinking():
    assert switch_cost(torch.tensor([[True, False]]), 0.25).tolist() == [[0.25, 0.0]]


def test_exact_prior_costs_log_odds_and_log_vocabulary():
    """For a deterministic q the difference think - act is log(alpha / (1 - alpha)) + log|Z|."""
    think, decided = torch.tensor([[True, False, False]]), torch.tensor([[True, True, False]])
    cost = exact_prior_cost(think, decided, torch.zeros(1, 3), alpha=0.9, latent_vocab=50)
    assert cost[0, 0] - cost[0, 1] == pytest.approx(math.log(0.9 / 0.1) + math.log(50), abs=1e-5)
    assert cost[0, 2] == 0


def test_exact_prior_cost_averages_to_the_bernoulli_and_entropy_split():
    """KL = kl(rho || alpha) + (1 - rho)(log|Z| - H(q~)): q keeps with rho, else is uniform over 4 of 8 latents."""
    rho, alpha, used, vocabulary = 0.7, 0.6, 4, 8
    think = torch.tensor([[False, True]])
    logq = torch.tensor([[math.log(rho), math.log((1 - rho) / used)]])
    cost = exact_prior_cost(think, torch.ones_like(think), logq, alpha, vocabulary)[0]
    bernoulli = rho * math.log(rho / alpha) + (1 - rho) * math.log((1 - rho) / (1 - alpha))
    expected = bernoulli + (1 - rho) * (math.log(vocabulary) - math.log(used))
    assert float(rho * cost[0] + (1 - rho) * cost[1]) == pytest.approx(expected, abs=1e-6)


def test_advantages_of_one_pass_in_four():
    assert leave_one_out(ONE_PASSES, ALL)[0].tolist() == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])
    assert group_mean(ONE_PASSES, ALL)[0].tolist() == [0.75, -0.25, -0.25, -0.25]
    assert group_std(ONE_PASSES, ALL)[0].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-4)
    assert batch_std(ONE_PASSES, ALL)[0].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-4)
    assert no_baseline(ONE_PASSES, ALL)[0].tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("estimator", [group_mean, group_std, batch_std])
def test_equal_returns_are_no_signal_whatever_their_sum_rounds_to(estimator):
    values = -100 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert ((values + values + values) / 3 != values).any()  # 3 a / 3 is not always a
    for value in values:
        assert not estimator(value.expand(1, 3), torch.ones(1, 3, dtype=torch.bool)).any()


def test_the_importance_weighted_advantage_by_hand():
    """Weights 1, 3 and 8 have the mean 4; without one of them 11/2, 9/2 and 2."""
    returns_DGS = torch.tensor([[[1.0, 1.0], [3.0, 1.0], [8.0, 1.0]]]).log()
    advantage = iwae(returns_DGS, torch.ones_like(returns_DGS, dtype=torch.bool))
    assert advantage[0, :, 0].tolist() == pytest.approx([math.log(8 / 11), math.log(8 / 9), math.log(2)])
    assert advantage[0, :, 1].tolist() == pytest.approx([0, 0, 0])
    near = torch.tensor([[0.0, 1e-3, 2e-3]])
    assert torch.allclose(iwae(near, near > -1), leave_one_out(near, near > -1) / 3, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_uncounted_entries_change_nothing(name):
    padded = torch.cat([ONE_PASSES, torch.full((1, 2), 77.0)], 1)
    counted = torch.cat([ALL, torch.zeros(1, 2, dtype=torch.bool)], 1)
    result = ESTIMATORS[name](padded, counted)
    assert torch.allclose(result[:, :4], ESTIMATORS[name](ONE_PASSES, ALL))
    assert (result[:, 4:] == 0).all()


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"none"}))
@pytest.mark.parametrize("returns_DG", [torch.tensor([[3.0]]), torch.full((2, 4), 0.5)])
def test_no_signal_gives_no_advantage(name, returns_DG):
    """A group of one, and groups of zero standard deviation."""
    assert (ESTIMATORS[name](returns_DG, torch.ones_like(returns_DG, dtype=torch.bool)) == 0).all()


def test_dead_groups_are_those_of_equal_returns():
    returns_DG = torch.tensor([[1.0, 1.0, 5.0], [1.0, 0.0, 0.0]])
    counted = torch.tensor([[True, True, False], [True, True, True]])
    assert dead_groups(returns_DG, counted).tolist() == [True, False]


def test_on_policy_the_clipped_loss_is_the_policy_gradient():
    logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    advantage, weight = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.5])
    clipped_policy_loss(logp, logp.detach(), advantage, weight, 0.2, 0.2).backward()
    assert logp.grad.tolist() == [-1.0, 0.5]


def test_clipping_stops_the_gradient_on_the_side_it_should():
    old = torch.zeros(4)
    logp = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5])).requires_grad_()
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    clipped_policy_loss(logp, old, advantage, torch.ones(4), 0.2, 0.2).backward()
    assert logp.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0])
    assert clip_share(logp.detach(), old, torch.ones(4, dtype=torch.bool), 0.2, 0.6) == 0.5


def test_cispo_keeps_every_tokens_gradient():
    logp = torch.log(torch.tensor([3.0, 0.5])).requires_grad_()
    cispo_loss(logp, torch.zeros(2), torch.tensor([1.0, -1.0]), torch.ones(2), 0.2, 0.28).backward()
    assert logp.grad.tolist() == pytest.approx([-1.28, 0.5])


ACTED = torch.tensor([[True, True, True, True], [True, False, False, False]])


def test_aggregations_of_a_long_and_a_short_row():
    assert token_mean(ACTED, 9).tolist() == [[0.2, 0.2, 0.2, 0.2], [0.2, 0, 0, 0]]
    assert sequence_mean(ACTED, 9).tolist() == [[0.125, 0.125, 0.125, 0.125], [0.5, 0, 0, 0]]
    assert constant(ACTED, 5).tolist() == [[0.1, 0.1, 0.1, 0.1], [0.1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("loss", "aggregation", "value", "gradient"),
    [
        ("clip", token_mean, -0.2, [-0.3, 0.0, -0.1, 0.0, 0.4]),
        ("clip", sequence_mean, 0.625, [-0.1875, 0.0, -0.0625, 0.0, 1.0]),
        ("clip", constant, -0.05, [-0.075, 0.0, -0.025, 0.0, 0.1]),
        ("cispo", token_mean, -0.2 * (1.5 * math.log(1.5) + 1.6 * math.log(3) + 2), [-0.3, -0.32, -0.1, 0.1, 0.4]),
    ],
)
def test_policy_losses_by_hand(loss, aggregation, value, gradient):
    """Ratios 1.5, 3, 0.5, 0.5 with advantages 1, 1, 1, -1 clipped to [0.6, 1.6]; a short row: log q = -1, A = -2."""
    old = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
    ratio = torch.tensor([[1.5, 3.0, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]])
    advantage = torch.tensor([[1.0, 1.0, 1.0, -1.0], [-2.0, 9.0, 9.0, 9.0]])
    logp = (ratio.log() + old).requires_grad_()
    found = POLICY_LOSSES[loss](logp, old, advantage, aggregation(ACTED, 10), 0.4, 0.6)
    found.backward()
    assert found.item() == pytest.approx(value, abs=1e-6)
    assert logp.grad[ACTED].tolist() == pytest.approx(gradient, abs=1e-6)
    assert (logp.grad[~ACTED] == 0).all()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_rows_without_a_choice_are_defined(aggregation):
    """An empty row weighs nothing, an empty step has no weights, and neither divides by zero."""
    empty = torch.zeros(2, 4, dtype=torch.bool)
    assert (AGGREGATIONS[aggregation](empty, 5) == 0).all()
    both = AGGREGATIONS[aggregation](torch.cat([ACTED, empty]), 5)
    assert (both[2:] == 0).all() and both.sum() > 0
    assert AGGREGATIONS[aggregation](empty[:0], 5).shape == (0, 4)


@pytest.mark.parametrize("loss", POLICY_LOSSES)
def test_policy_losses_of_nothing_are_zero(loss):
    logp = torch.randn(3, requires_grad=True)
    POLICY_LOSSES[loss](logp, torch.zeros(3), torch.ones(3), torch.zeros(3), 0.2, 0.2).backward()
    assert (logp.grad == 0).all()


def test_next_token_loss_is_a_weighted_mean():
    assert next_token_loss(torch.tensor([-1.0, -3.0]), torch.tensor([0.5, 0.5])) == 2.0


def test_decision_probabilities_sum_to_one_also_where_think_is_certain():
    logits = torch.tensor([[0.0, 0.0, 0.0], [40.0, 0.0, 0.0]])
    think, act = decision_logps(logits, torch.tensor([0, 0])).unbind(-1)
    assert think[0].exp() == pytest.approx(1 / 3) and act[0].exp() == pytest.approx(2 / 3)
    assert act[1] == pytest.approx(math.log(2) - 40, abs=1e-4)


def test_entropy_ignores_impossible_tokens():
    assert entropy(torch.tensor([[0.0, 0.0, -torch.inf]]))[0] == pytest.approx(math.log(2))


def test_learning_rate_rises_then_falls():
    assert warmup_cosine(0.05, 0.1) == pytest.approx(0.5)
    assert warmup_cosine(0.1, 0.1) == pytest.approx(1.0)
    assert warmup_cosine(1.0, 0.1) == pytest.approx(0.1)
    assert warmup_cosine(0.5, 0.0, floor=0.0) == pytest.approx(0.5)


def test_every_item_comes_once_per_pass():
    batches = [batch_of(10, 4, step, seed=3) for step in range(5)]
    flat = [i for batch in batches for i in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert batch_of(3, 8, 0, seed=0)[:3] != [] and len(batch_of(3, 8, 0, seed=0)) == 8
