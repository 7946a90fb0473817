"""What an M-step learns from the lines of branches: to say of them behind a comment what pi says of them without it.

    L = sum_k H( pi(. | s, act, a_<k), pi(. | s, z, a_<k) ),     H(p, p') = - sum_v p_v log p'_v,  the first held fixed

A comment of pi's own has not seen the lines, so that p(a | s, z) = p(a | s). Imitation of the lines teaches that, too,
but one token of the text at a time, and which one it is drowns what the comment does. The gradient here is that of
KL(pi(. | s, act) || pi(. | s, z)) over the whole vocabulary. What opens a comment is no part of pi(. | s, act): none
follows another. What people's comments are worth is learned where they stand, in the documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ra3.model.lanes import add_up, alike
from ra3.model.policy import Policy
from ra3.model.update import ForwardTokens, forward_trunk
from ra3.rows import Rows

WEIGHT = 10.0
"""Of a token of these lines, where one of the text counts 1: what comments do is small beside what a token says."""


@dataclass(frozen=True)
class SaidWithoutComments:
    """What a policy says of the lines of branches in their documents, which are the first rows of their groups."""

    lines: Tensor
    """[B,T] bool, tokens of the branches' lines."""
    number: Tensor
    """[B,T] each one's number among the N tokens of the documents that they are."""
    hidden: Tensor
    """[N,D] hidden states before these in the documents."""
    opener: Tensor
    """[B,T] the id that would open a comment in front of a token in the document, -1 where none is to be decided."""

    @classmethod
    def of(cls, policy: Policy, rows: Rows, max_tokens: int) -> Self:
        """Reads the documents of the rows, without gradient; `max_tokens` bounds a pass."""
        rows = rows.to(policy.device)
        (first, left), width = alike(rows), rows.ids.shape[1]
        documents, source = first.unique(return_inverse=True)
        lines = rows.expert & is_branch(rows)[:, None]
        row, column = lines.nonzero(as_tuple=True)
        place = column - (rows.length - left - rows.expert.sum(1))[row]  # in the document: there is no comment
        keys, which = (source[row] * width + place).unique(return_inverse=True)
        number, opener = torch.zeros_like(rows.ids), torch.full_like(rows.ids, -1)
        number[row, column] = which
        opener[row, column] = torch.where(place == left[row], rows.ids[row, left[row]], -1)
        wanted = torch.zeros(len(documents) * width, dtype=torch.bool, device=policy.device)
        wanted[keys] = True
        size = policy.model.get_output_embeddings().weight.shape[1]
        hidden = torch.zeros(len(keys), size, dtype=policy.score_dtype, device=policy.device)
        with torch.no_grad():
            for tokens in forward_trunk(policy, rows.select(documents), wanted.unflatten(0, (-1, width)), max_tokens):
                hidden[torch.searchsorted(keys, tokens.row * width + tokens.column)] = tokens.hidden.to(hidden.dtype)
        return cls(lines, number, add_up(hidden, policy.lanes), opener)

    def cross_entropy(self, policy: Policy, tokens: ForwardTokens, weight: Tensor) -> Tensor:
        """The sum of H over those of these N tokens that are of the lines, each times its weight [N]."""
        at = tokens.at(self.lines)
        which, opener = tokens.at(self.number)[at], tokens.at(self.opener)[at]
        with torch.no_grad():
            logits = policy.logits(self.hidden[which])
            said = logits.masked_fill(torch.arange(logits.shape[-1], device=at.device) == opener[:, None], -torch.inf)
        each = cross_entropy(policy.logits(tokens.hidden[at], learning=True), said.softmax(-1), reduction="none")
        return (weight[at] * each).sum()


def is_branch(rows: Rows) -> Tensor:
    """[B] bool, rows that leave a document, which is the first of their group."""
    return alike(rows)[0] != torch.arange(len(rows), device=rows.ids.device)
