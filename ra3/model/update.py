"""One optimiser step: rows -> packed micro-batches -> scores -> loss -> backward -> clip -> step. And scoring alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import embedding

from ra3.config.settings import UpdateSettings
from ra3.model.action_spaces import TokenScores, token_scores
from ra3.model.activation_checkpointing import recomputing
from ra3.model.flops import TRAINING, forward_flops
from ra3.model.heap import give_back
from ra3.model.nonfinite import NotFinite
from ra3.model.optimizers import Optimizer
from ra3.model.packing import Packed, micro_batches
from ra3.model.policy import Policy
from ra3.model.ranks import rank_and_count, sum_gradients, sum_over_ranks
from ra3.model.row_attention import RowLayout
from ra3.rows import Rows
from ra3.run.ledger import count, phase


@dataclass(frozen=True)
class RowScores:
    """Scores of rows under one policy, each [B,T]; 0 at tokens that were not asked for."""

    logp: Tensor
    logp_act: Tensor
    entropy: Tensor


PASS_TOKENS_ON_CPU = 2048
"""More tokens at once make a pass on a CPU slower: what it computes no longer stays in the cache."""


@dataclass(frozen=True)
class Asked:
    """The N tokens of a micro-batch that are to be scored, and the hidden states [N,D] before them."""

    before: Tensor
    what: tuple[Tensor, Tensor, Tensor]
    """ids, space and act of each, [N]."""
    row: Tensor
    column: Tensor


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
    for asked in asked_batches(policy, rows, wanted, max_tokens):
        yield Picked(policy.scores(asked.before, *asked.what, temperature), asked.row, asked.column)


def asked_batches(
    policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int, learning: bool = False
) -> Iterator[Asked]:
    """The trunk's forward passes. `max_tokens` bounds each; on a CPU so does its cache. Where nothing was chosen,
    nothing need score exactly as when it was sampled. `learning`: see Policy.hidden."""
    exact = bool(rows.act.any())
    rows, wanted = rows.to(policy.device), wanted.to(policy.device)
    limit = min(max_tokens, PASS_TOKENS_ON_CPU) if policy.device.type == "cpu" else max_tokens
    for packed in micro_batches(rows, limit, *rank_and_count()):
        yield _forward(policy, rows, packed, wanted, exact, learning)


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
    update: UpdateSettings,
    temperature: float = 1.0,
    live: Tensor | None = None,
) -> tuple[RowScores, dict[str, float]]:
    """One optimiser step on the sum of `loss_fn` over all micro-batches of all ranks. Rows that are not in `live` [B]
    are known to have no gradient: they are scored, and cost no backward pass.

    Returns the scores that the step was computed from (the policy before the update) and {"loss", "grad_norm"}. The
    policy is not touched if the loss or the gradient is not finite: that raises NotFinite with the rows to blame.
    """
    optimizer.zero_grad()
    give_back()
    live = torch.ones_like(rows.closed) if live is None else live
    with recomputing(policy.model, update.checkpoint_activations):
        losses, parts = _passes(policy, rows, wanted, live, loss_fn, update.micro_batch_tokens, temperature)
    sum_gradients(policy.model.parameters())
    total = float(sum_over_ranks(torch.tensor(sum(losses), dtype=torch.float64, device=policy.device)))
    grad_norm = float(torch.nn.utils.clip_grad_norm_(policy.model.parameters(), update.max_grad_norm))
    if not (math.isfinite(total) and math.isfinite(grad_norm)):
        bad = culprits(policy, rows, wanted, loss_fn, update.micro_batch_tokens, temperature)
        optimizer.zero_grad()
        raise NotFinite(f"loss {total:g}, gradient norm {grad_norm:g}", rows, bad)
    optimizer.step()
    return scatter(policy, parts, rows), {"loss": total, "grad_norm": grad_norm}


def _passes(
    policy: Policy, rows: Rows, wanted: Tensor, live: Tensor, loss_fn: Callable[[Picked], Tensor], max_tokens: int,
    temperature: float,
) -> tuple[list[float], list[Picked]]:  # fmt: skip
    """The loss and the scores of every micro-batch; the gradients of rows that are `live` are added up."""
    losses, parts = [], []
    for which, learning in ((live, True), (~live, False)):
        index = which.nonzero()[:, 0]
        own, tokens, index = rows.select(index), wanted[index], index.to(policy.device)
        operations = forward_flops(policy, own.length, float(tokens.sum()))
        count(trained=float(tokens.sum()), flops=(TRAINING if learning else 1) * operations)
        with torch.set_grad_enabled(learning):
            for asked in asked_batches(policy, own, tokens, max_tokens, learning):
                loss, picked = learn(policy, replace(asked, row=index[asked.row]), loss_fn, temperature)
                losses.append(loss)
                parts.append(picked)
    return losses, parts


def culprits(
    policy: Policy, rows: Rows, wanted: Tensor, loss_fn: Callable[[Picked], Tensor], max_tokens: int, temperature: float
) -> list[int]:
    """The rows whose loss or gradient, each computed alone, is not finite. Overwrites the gradients."""
    bad = []
    for r in range(len(rows)):
        policy.model.zero_grad()
        alone = asked_batches(policy, rows.select([r]), wanted[r : r + 1], max_tokens, learning=True)
        total = sum(learn(policy, replace(asked, row=asked.row + r), loss_fn, temperature)[0] for asked in alone)
        norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), math.inf)
        if not (math.isfinite(total) and bool(torch.isfinite(norm))):
            bad.append(r)
    return bad


def learn(
    policy: Policy, asked: Asked, loss_fn: Callable[[Picked], Tensor], temperature: float
) -> tuple[float, Picked]:
    """Adds the gradient of `loss_fn` on these tokens, where gradients are enabled; returns the loss and the scores.

    The loss is a sum over tokens, so it is taken back through the output head a few tokens at a time: logits [n,V] live
    only from their forward to their backward pass, and nothing is computed twice. Then the trunk follows, once.
    """
    columns = (asked.before.detach(), *asked.what, asked.row, asked.column)
    losses, parts, gradients = [], [], []
    for h, ids, space, act, row, column in zip(*(x.split(policy.head_rows) for x in columns), strict=True):
        leaf = h.requires_grad_(torch.is_grad_enabled())
        logits = policy.logits(leaf, learning=leaf.requires_grad)
        scores = token_scores(logits, ids, space, act, policy.spaces, temperature)
        del logits
        loss = loss_fn(Picked(scores, row, column))
        if loss.requires_grad:
            loss.backward()
        losses.append(loss.detach())
        parts.append(scores.detach())
        gradients.append(torch.zeros_like(h) if leaf.grad is None else leaf.grad)
    if asked.before.requires_grad:
        asked.before.backward(torch.cat(gradients))
    return float(torch.stack(losses).double().sum()), Picked(TokenScores.concatenate(parts), asked.row, asked.column)


def _forward(policy: Policy, rows: Rows, packed: Packed, wanted: Tensor, exact: bool, learning: bool) -> Asked:
    layout = RowLayout.of(packed.column, packed.token)
    hidden = policy.hidden(packed.ids[None], packed.positions[None], None, exact, layout, learning)[0]
    at = ((packed.column > 0) & wanted[packed.row, packed.column]).nonzero()[:, 0]
    row, column = packed.row[at], packed.column[at]
    return Asked(
        embedding(packed.token[at - 1], hidden),
        (rows.ids[row, column], rows.space[row, column], rows.act[row, column]),
        row,
        column,
    )
