"""Credit of interleaved rollouts: what happened at every boundary, reward and return [B,S], and credit of tokens [B,T].

Deviations from the paper, each a setting:
1. The log-likelihood of a step is summed or averaged over its tokens (the paper does not say which).
2. `exact_prior` offers the KL of the sticky prior that the paper's constant c stands for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.config.settings import EstepSettings
from ra3.model.action_spaces import ActionSpaces, TokenScores, step_logp
from ra3.rl.advantages import ESTIMATORS
from ra3.rows import CONTEXT, Rows


@dataclass(frozen=True)
class Boundaries:
    """The boundaries before each of S steps in B rollouts."""

    exists: Tensor
    """[B,S] bool, the document has this step."""
    decided: Tensor
    """[B,S] bool, the policy chose between think and act here."""
    think: Tensor
    """[B,S] bool, it opened a new intention."""
    unclosed: Tensor
    """[B,S] bool, the comment had to be closed by force."""
    logq: Tensor
    """[B,S] log-probability of everything chosen here, under the sampling policy."""

    @classmethod
    def of(cls, rows: Rows, spaces: ActionSpaces) -> Boundaries:
        """Reads the boundaries off the rows."""
        steps = rows.num_steps

        def any_of(mask: Tensor) -> Tensor:
            return step_sums(mask.float(), rows.step, steps) > 0

        think = any_of(rows.decisions & ~rows.expert)
        ends = spaces.ends_comment(rows.ids.to(spaces.words.device)).to(rows.ids.device)
        return cls(
            exists=any_of(rows.expert),
            decided=any_of(rows.decisions),
            think=think,
            unclosed=think & ~any_of(rows.words & ends),
            logq=step_sums(torch.where(rows.action_mask, rows.logp_old, 0.0), rows.step, steps),
        )


@dataclass(frozen=True)
class Credit:
    """Rewards, returns and advantages of interleaved rollouts, from the boundaries that they decided at."""

    boundaries: Boundaries
    likelihood: Tensor
    """[B,S] log pi(a_t | s_t, z_t), summed or averaged over the step's tokens."""
    cost: Tensor
    """[B,S] price of the latents: switch penalty or exact prior."""
    reward: Tensor
    """[B,S] likelihood - cost - format penalty."""
    returns: Tensor
    """[B,S] discounted reward over the horizon."""
    advantage: Tensor
    """[B,T] advantage of every chosen token, 0 elsewhere."""


def estep_credit(
    rows: Rows, spaces: ActionSpaces, pi_scores: TokenScores, settings: EstepSettings, penalty: float
) -> Credit:
    """Reward -> return -> advantage for `settings.group_size` rollouts of each document, `penalty` being the current c.

    Decisions are compared with all rollouts of the group at the same boundary; comments with all, or only with those
    that also wrote one there (comment_baseline = "thinkers"). Importance weights undo the think floor.
    """
    at = Boundaries.of(rows, spaces)
    logp = step_logp(pi_scores.logp, pi_scores.logp_action, rows)
    fit = likelihood(logp, rows.expert, rows.step, rows.num_steps, settings.likelihood)
    cost = switch_cost(at.think, penalty)
    if settings.exact_prior:
        cost = exact_prior_cost(at.think, at.decided, at.logq, *settings.exact_prior)
    reward = fit - cost - settings.format_penalty * at.unclosed
    gain = returns(reward, settings.gamma, settings.horizon)

    def compare(counted: Tensor) -> Tensor:
        grouped = [x.unflatten(0, (-1, settings.group_size)) for x in (gain, counted)]
        return at_tokens(ESTIMATORS[settings.advantage](*grouped).flatten(0, 1), rows.step)

    decision = compare(at.decided)
    comment = compare(at.think) if settings.comment_baseline == "thinkers" else decision
    advantage = torch.where(rows.words, comment, decision) * rows.importance * rows.action_mask
    return Credit(at, fit, cost, reward, gain, advantage)


def at_tokens(per_step: Tensor, step: Tensor) -> Tensor:
    """[B,S] -> [B,T]: each token gets its step's value, tokens outside any step 0."""
    return torch.where(step == CONTEXT, 0.0, per_step.gather(1, step.clamp(min=0)))


def step_sums(values: Tensor, step: Tensor, num_steps: int) -> Tensor:
    """[B,T] values and step indices -> [B,S] sums per step; step = -1 is dropped."""
    sums = values.new_zeros(values.shape[0], num_steps + 1)
    return sums.scatter_add(1, step + 1, values)[:, 1:]


def likelihood(logp: Tensor, expert: Tensor, step: Tensor, num_steps: int, kind: str) -> Tensor:
    """[B,S] log pi(a_t | s_t, z_t): kind "sum" over the step's tokens, or "mean" (sum / number of its tokens)."""
    total = step_sums(torch.where(expert, logp, 0.0), step, num_steps)
    if kind == "sum":
        return total
    return total / step_sums(expert.to(total.dtype), step, num_steps).clamp(min=1)


def switch_cost(think: Tensor, penalty: float) -> Tensor:
    """[B,S] c * 1[think]: the paper's price of a new intention."""
    return torch.where(think, penalty, 0.0)


def exact_prior_cost(think: Tensor, decided: Tensor, logq: Tensor, alpha: float, latent_vocab: float) -> Tensor:
    """[B,S] one-sample estimate of KL(q || p) at each boundary, p = alpha * keep + (1 - alpha) * U (sticky prior):

        log q(z_t) - log p(z_t),   p(act) = alpha,   p(z) = (1 - alpha) / |Z| for a new intention z

    `logq` [B,S] is the log-probability of everything chosen at the boundary. Boundaries without a decision cost 0.
    In expectation the switch costs log(alpha / (1 - alpha)) + log|Z| minus the entropy that q spends.
    """
    logp_prior = torch.where(think, math.log1p(-alpha) - math.log(latent_vocab), math.log(alpha))
    return torch.where(decided, logq - logp_prior, 0.0)


def returns(rewards: Tensor, gamma: float, horizon: int) -> Tensor:
    """[B,S] R_t = sum_{k=t}^{min(S, t+H-1)} gamma^(k-t) r_k: H = 1 is the step's own reward, H >= S reward-to-go."""
    num_steps = rewards.shape[-1]
    total = torch.zeros_like(rewards)
    for lag in range(min(horizon, num_steps)):
        total[..., : num_steps - lag] += gamma**lag * rewards[..., lag:]
    return total
