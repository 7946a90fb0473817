"""Log-probabilities of what the policy chose: pure functions of logits.

At the start of a line the policy chooses between `think` (the next token opens a comment) and `act` (any other token):

    q(think | s) = p("#" | s)        q(act | s) = 1 - p("#" | s)

Inside a comment it chooses among the ids M that may stand there:  q(v | s) = p(v | s) / sum_{u in M} p(u | s).
Elsewhere it chooses among the whole vocabulary. The expert's step given act is p(a | s) / (1 - p("#" | s)), so that the
latents and steps of a sequence multiply to the language model's own probability of the annotated text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ra3.rows import COMMENT, DECISION, FULL, Rows


@dataclass(frozen=True)
class TokenScores:
    """Scores of N tokens under one model."""

    logp: Tensor
    """[N] log-probability of the token under the full vocabulary."""
    logp_action: Tensor
    """[N] log-probability of the choice in its action space (equal to `logp` for FULL)."""
    entropy: Tensor
    """[N] entropy of the action space's distribution, nats."""

    def detach(self) -> TokenScores:
        """The numbers without their graph."""
        return TokenScores(*(getattr(self, f.name).detach() for f in fields(self)))


def log_probability(logits: Tensor, ids: Tensor) -> Tensor:
    """[N,V] logits, [N] ids -> [N], log p_i = x_i - log sum_v exp x_v."""
    return _LogProbability.apply(logits, ids)


class _LogProbability(torch.autograd.Function):
    """d log p_i / dx_v = [v = i] - p_v, with one [N,V] less than autograd makes: 5% of an M-step of 152,000 words."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor) -> Tensor:
        logp = logits.log_softmax(-1)
        ctx.save_for_backward(logp, ids)
        return logp.gather(-1, ids[:, None])[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (logp, ids), gradient = ctx.saved_tensors, gradients[0][:, None]
        return logp.exp().mul_(-gradient).scatter_add_(-1, ids[:, None], gradient), None


def decision_logps(logits: Tensor, think_id: int) -> tuple[Tensor, Tensor]:
    """[N,V] -> (log q(think), log q(act)), each [N]; log q(act) sums the other tokens: exact also near p("#") = 1."""
    total = logits.logsumexp(-1)
    others = logits.clone()
    others[:, think_id] = -torch.inf
    return logits[:, think_id] - total, others.logsumexp(-1) - total


def mask_logits(logits: Tensor, allowed: Tensor) -> Tensor:
    """[N,V] with -inf where `allowed` [V] is false."""
    return logits.masked_fill(~allowed, -torch.inf)


def entropy(logits: Tensor) -> Tensor:
    """[N,V] -> [N], H = -sum_v p log p in nats; entries of -inf count as probability 0."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp.clamp(min=torch.finfo(logp.dtype).min)).sum(-1)


def token_scores(
    logits: Tensor, ids: Tensor, space: Tensor, chosen: Tensor, think_id: int, allowed: Tensor, temperature: float = 1.0
) -> TokenScores:
    """Scores of tokens `ids` [N] with action space `space` [N] under `logits` [N,V]; comments may hold `allowed` [V].

    `temperature` divides the logits of the chosen tokens (the sampling distribution); `logp` is at temperature 1.
    """
    logp = log_probability(logits, ids)
    tempered = logits if temperature == 1.0 else logits / temperature
    action = logp.clone() if temperature == 1.0 else log_probability(tempered, ids)
    uncertainty = torch.zeros_like(logp)
    for kind in (FULL, DECISION, COMMENT):
        at = chosen & (space == kind)
        if not at.any():
            continue
        own, choice = tempered if at.all() else tempered[at], ids[at]
        if kind == DECISION:  # two log-probabilities are logits, too
            own, choice = torch.stack(decision_logps(own, think_id), -1), (choice != think_id).long()
        elif kind == COMMENT:
            own = mask_logits(own, allowed)
        if kind != FULL:
            action[at] = log_probability(own, choice)
        uncertainty[at] = entropy(own.detach())
    return TokenScores(logp, action, uncertainty)


def step_logp(logp: Tensor, logp_action: Tensor, rows: Rows) -> Tensor:
    """[B,T] log-probability of the tokens of expert steps given their latents, 0 elsewhere.

    log pi(a | s, act) = log p(a | s) - log(1 - p("#" | s)) at the first token of a step that follows a decision to act.
    """
    given_act = torch.where(rows.action_mask & (rows.action_space == DECISION), logp - logp_action, logp)
    return torch.where(rows.expert, given_act, 0.0)
