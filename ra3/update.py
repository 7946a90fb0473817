"""One optimiser step: rows -> packed micro-batches -> scores -> loss -> backward -> clip -> step. And scoring alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.actions import TokenScores
from ra3.batches import Packed, micro_batches
from ra3.flops import TRAINING, forward_flops
from ra3.ledger import count, phase
from ra3.not_finite import NotFinite
from ra3.optimizers import Optimizer
from ra3.policy import Policy
from ra3.ranks import rank_and_count, sum_gradients, sum_over_ranks
from ra3.rows import Rows


@dataclass(frozen=True)
class RowScores:
    """Scores of rows under one policy, each [B,T]; 0 at tokens that were not asked for."""

    logp: Tensor
    logp_act: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Picked:
    """The N scored tokens of a micro-batch: their scores and where they stand in the Rows."""

    scores: TokenScores
    row: Tensor
    column: Tensor

    def of(self, values: Tensor) -> Tensor:
        """[B,T] -> [N], the values of these tokens."""
        return values[self.row, self.column]


def picked_batches(
    policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int, temperature: float = 1.0
) -> Iterator[Picked]:
    """Forward passes over this rank's share of the rows, a micro-batch at a time; only tokens in `wanted` [B,T] reach
    the output head."""
    rows, wanted = rows.to(policy.device), wanted.to(policy.device)
    for packed in micro_batches(rows, max_tokens, *rank_and_count()):
        yield _forward(policy, rows, packed, wanted, temperature)


@phase("scoring")
def score(policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int, temperature: float = 1.0) -> RowScores:
    """Scores of the tokens in `wanted` [B,T], without gradient."""
    tokens = float(wanted.sum())
    count(scored=tokens, flops=forward_flops(policy, rows.length, tokens))
    with torch.no_grad():
        parts = list(picked_batches(policy, rows, wanted, max_tokens, temperature))
    return scatter(policy, parts, rows)


def scatter(policy: Policy, parts: list[Picked], rows: Rows) -> RowScores:
    """The tokens that all ranks scored back in their places, [B,T], detached, on the rows' device."""

    def place(name: str) -> Tensor:
        out = torch.zeros(rows.ids.shape, dtype=policy.score_dtype, device=policy.device)
        for p in parts:
            out[p.row, p.column] = getattr(p.scores, name).detach()
        return sum_over_ranks(out).to(rows.ids.device)

    return RowScores(place("logp"), place("logp_act"), place("entropy"))


@phase("training")
def fit(
    policy: Policy,
    optimizer: Optimizer,
    rows: Rows,
    wanted: Tensor,
    loss_fn: Callable[[Picked], Tensor],
    max_tokens: int,
    max_grad_norm: float,
    temperature: float = 1.0,
) -> tuple[RowScores, dict[str, float]]:
    """One optimiser step on the sum of `loss_fn` over all micro-batches of all ranks.

    Returns the scores that the step was computed from (the policy before the update) and {"loss", "grad_norm"}. The
    policy is not touched if the loss or the gradient is not finite: that raises NotFinite with the rows to blame.
    """
    tokens = float(wanted.sum())
    count(trained=tokens, flops=TRAINING * forward_flops(policy, rows.length, tokens))
    optimizer.zero_grad()
    total, parts = 0.0, []
    for picked in picked_batches(policy, rows, wanted, max_tokens, temperature):
        loss = loss_fn(picked)
        if loss.requires_grad:
            loss.backward()
        total += float(loss.detach())
        parts.append(Picked(_detach(picked.scores), picked.row, picked.column))
    sum_gradients(policy.model.parameters())
    total = float(sum_over_ranks(torch.tensor(total, dtype=torch.float64, device=policy.device)))
    grad_norm = float(torch.nn.utils.clip_grad_norm_(policy.model.parameters(), max_grad_norm))
    if not (math.isfinite(total) and math.isfinite(grad_norm)):
        bad = culprits(policy, rows, wanted, loss_fn, max_tokens, temperature)
        optimizer.zero_grad()
        raise NotFinite(f"loss {total:g}, gradient norm {grad_norm:g}", rows, bad)
    optimizer.step()
    return scatter(policy, parts, rows), {"loss": total, "grad_norm": grad_norm}


def culprits(
    policy: Policy, rows: Rows, wanted: Tensor, loss_fn: Callable[[Picked], Tensor], max_tokens: int, temperature: float
) -> list[int]:
    """The rows whose loss or gradient, each computed alone, is not finite. Overwrites the gradients."""
    bad = []
    for r in range(len(rows)):
        policy.model.zero_grad()
        finite = True
        for picked in picked_batches(policy, rows.select([r]), wanted[r : r + 1], max_tokens, temperature):
            loss = loss_fn(Picked(picked.scores, picked.row + r, picked.column))
            if loss.requires_grad:
                loss.backward()
            finite = finite and bool(torch.isfinite(loss))
        norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), math.inf)
        if not (finite and bool(torch.isfinite(norm))):
            bad.append(r)
    return bad


def _forward(policy: Policy, rows: Rows, packed: Packed, wanted: Tensor, temperature: float) -> Picked:
    hidden = policy.hidden(packed.ids[None], packed.positions[None])[0]
    at = ((packed.positions > 0) & wanted[packed.row, packed.positions]).nonzero()[:, 0]
    row, column = packed.row[at], packed.positions[at]
    before = hidden[at - 1]
    scores = policy.scores(before, rows.ids[row, column], rows.space[row, column], rows.act[row, column], temperature)
    return Picked(scores, row, column)


def _detach(scores: TokenScores) -> TokenScores:
    return TokenScores(scores.logp.detach(), scores.logp_act.detach(), scores.entropy.detach())
