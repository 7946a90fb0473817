"""Log-probabilities of what the policy chose: pure functions of logits.

In front of a step the policy chooses between `think` (the next token opens a comment) and `act` (any other token):

    q(think | s) = p("#" | s)        q(act | s) = 1 - p("#" | s)

"#" is the token that opens a comment there, with or without the space of the indentation. Inside a comment the policy
chooses among words W and its end, which is any token of B, those that begin with a line break:

    q(v | s) = p(v | s) / Z        q(end | s) = sum_{u in B} p(u | s) / Z        Z = sum_{u in W + B} p(u | s)

The first word is chosen among W alone: an empty comment would say nothing, which is what `act` is for. Elsewhere the
policy chooses among the whole vocabulary. The expert's step given act is p(a | s) / (1 - p("#" | s)), so that the
latents and steps of a sequence multiply to the language model's own probability of the annotated text, whichever line
break ends a comment, and given the indentation that is forced behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ra3.rows import COMMENT, DECISION, FULL, WORD, Rows


@dataclass(frozen=True)
class ActionSpaces:
    """What a policy over V ids may choose, on the policy's device."""

    think_ids: Tensor
    """[K] ids that open a comment, each at boundaries of its own."""
    words: Tensor
    """[V] bool, ids that may stand inside a comment."""
    breaks: Tensor
    """[V] bool, ids that begin with a line break: together one choice, to end the comment, at the first of them."""
    last_words: Tensor
    """[V] bool, those of `words` that end the comment as well."""

    @cached_property
    def break_ids(self) -> Tensor:
        """[E] the ids in `breaks`."""
        return self.breaks.nonzero()[:, 0]

    def comment_logits(self, logits: Tensor, may_end: Tensor) -> Tensor:
        """[N,V] logits of the choice inside a comment, -inf where it offers nothing: its end only at `may_end` [N]."""
        own = logits.masked_fill(~self.words, -torch.inf)
        own[:, self.break_ids[0]] = logits[:, self.break_ids].logsumexp(-1).masked_fill(~may_end, -torch.inf)
        return own

    def comment_choice(self, ids: Tensor) -> Tensor:
        """[N] ids -> [N] what was chosen by them inside a comment: every line break is the first one."""
        return torch.where(self.breaks[ids], self.break_ids[0], ids)

    def ends_comment(self, ids: Tensor) -> Tensor:
        """Whether each of these ids, if chosen inside a comment, is its last."""
        return (self.breaks | self.last_words)[ids]


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


def decision_logps(logits: Tensor, think_id: Tensor) -> Tensor:
    """[N,V] logits, [N] the id that thinks -> [N,2] (log q(think), log q(act)); log q(act) sums the other tokens: exact
    also near p("#") = 1."""
    total, think_id = logits.logsumexp(-1), think_id[:, None]
    others = logits.scatter(-1, think_id, -torch.inf)
    return torch.stack([logits.gather(-1, think_id)[:, 0] - total, others.logsumexp(-1) - total], -1)


def entropy(logits: Tensor) -> Tensor:
    """[N,V] -> [N], H = -sum_v p log p in nats; entries of -inf count as probability 0."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp.clamp(min=torch.finfo(logp.dtype).min)).sum(-1)


def token_scores(
    logits: Tensor, ids: Tensor, space: Tensor, chosen: Tensor, spaces: ActionSpaces, temperature: float = 1.0
) -> TokenScores:
    """Scores of tokens `ids` [N] with action space `space` [N] under `logits` [N,V].

    `temperature` divides the logits of the chosen tokens (the sampling distribution); `logp` is at temperature 1.
    """
    logp = log_probability(logits, ids)
    tempered = logits if temperature == 1.0 else logits / temperature
    action = logp.clone() if temperature == 1.0 else log_probability(tempered, ids)
    uncertainty = torch.zeros_like(logp)
    decided, in_comment = space >= DECISION, (space == COMMENT) | (space == WORD)
    for kind, of_kind in ((FULL, space == FULL), (DECISION, decided), (COMMENT, in_comment)):
        at = chosen & of_kind
        if not at.any():
            continue
        own, choice = tempered if at.all() else tempered[at], ids[at]
        if kind == DECISION:  # two log-probabilities are logits, too
            think_id = spaces.think_ids[space[at].long() - DECISION]
            own, choice = decision_logps(own, think_id), (choice != think_id).long()
        elif kind != FULL:
            own, choice = spaces.comment_logits(own, space[at] == COMMENT), spaces.comment_choice(choice)
        if kind != FULL:
            action[at] = log_probability(own, choice)
        uncertainty[at] = entropy(own.detach())
    return TokenScores(logp, action, uncertainty)


def step_logp(logp: Tensor, logp_action: Tensor, rows: Rows) -> Tensor:
    """[B,T] log-probability of the tokens of expert steps given their latents, 0 elsewhere.

    log pi(a | s, act) = log p(a | s) - log(1 - p("#" | s)) at the first token of a step that follows a decision to act.
    """
    given_act = torch.where(rows.decisions, logp - logp_action, logp)
    return torch.where(rows.expert, given_act, 0.0)
