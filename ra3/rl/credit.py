"""What happened at every boundary of interleaved rollouts, as tensors [B,S]; credit carried back to tokens [B,T]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.config.settings import EstepSettings
from ra3.model.action_spaces import TokenScores, step_logp
from ra3.rl.advantages import ESTIMATORS
from ra3.rl.rewards import exact_prior_cost, likelihood, returns, step_sums, switch_cost
from ra3.rows import COMMENT, CONTEXT, DECISION, Rows


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
    def of(cls, rows: Rows, newline_id: int) -> Boundaries:
        """Reads the boundaries off the rows."""
        steps = rows.num_steps

        def any_of(mask: Tensor) -> Tensor:
            return step_sums(mask.float(), rows.step, steps) > 0

        decision = rows.action_mask & (rows.action_space == DECISION)
        return cls(
            exists=any_of(rows.expert),
            decided=any_of(decision),
            think=any_of(decision & ~rows.expert),
            unclosed=any_of(rows.latent & ~rows.action_mask & (rows.ids == newline_id)),
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
    rows: Rows, newline_id: int, pi_scores: TokenScores, settings: EstepSettings, penalty: float
) -> Credit:
    """Reward -> return -> advantage for `settings.group_size` rollouts of each document, `penalty` being the current c.

    Decisions are compared with all rollouts of the group at the same boundary; comments with all, or only with those
    that also wrote one there (comment_baseline = "thinkers"). Importance weights undo the think floor.
    """
    at = Boundaries.of(rows, newline_id)
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
    advantage = torch.where(rows.action_space == COMMENT, comment, decision) * rows.importance * rows.action_mask
    return Credit(at, fit, cost, reward, gain, advantage)


def at_tokens(per_step: Tensor, step: Tensor) -> Tensor:
    """[B,S] -> [B,T]: each token gets its step's value, tokens outside any step 0."""
    return torch.where(step == CONTEXT, 0.0, per_step.gather(1, step.clamp(min=0)))
