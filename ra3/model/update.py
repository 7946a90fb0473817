"""One optimiser step: rows -> packed micro-batches -> scores -> loss -> backward -> clip -> step. And scoring alone;
and the optimisers, Muon for the weight matrices and AdamW for the rest, or AdamW alone.

Every rank knows the rows of the whole step, reads those of its lanes, and adds up (ra3/model/lanes.py): with
denominators of the whole step, gradients, losses and scores are plain sums, and all ranks take the same optimiser step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from ra3.config.settings import UpdateSettings
from ra3.model.action_spaces import TokenScores, token_scores
from ra3.model.attention import RowLayout
from ra3.model.lanes import LaneGradients, Plan, add_up, clip_gradients, own_lanes, share_of
from ra3.model.policy import Policy
from ra3.rows import Rows
from ra3.run.ledger import Work

MAX_PASS_TOKENS_ON_CPU = 2048
"""More tokens at once make a pass on a CPU slower: what it computes no longer stays in the processor's cache."""


@dataclass(frozen=True)
class ForwardTokens:
    """The N tokens of a micro-batch that are to be scored."""

    hidden: Tensor
    """[N,D] the hidden state before each."""
    ids: Tensor
    """[N]"""
    space: Tensor
    """[N] action space."""
    chosen: Tensor
    """[N] bool, the policy chose here."""
    row: Tensor
    """[N] where the token stands in the rows."""
    column: Tensor
    """[N]"""

    def at(self, values: Tensor) -> Tensor:
        """[B,T] -> [N], the values of these tokens."""
        return values[self.row, self.column]

    def split(self, size: int) -> Iterator[Self]:
        """The tokens, `size` at a time."""
        for parts in zip(*(getattr(self, f.name).split(size) for f in fields(self)), strict=True):
            yield type(self)(*parts)


Scored = tuple[Tensor, Tensor, TokenScores]
"""[n] rows and [n] columns of some tokens, and their scores."""
TokenLoss = Callable[[TokenScores, ForwardTokens], Tensor]
"""The loss of some of a step's tokens, to be summed over all of them: its weights are those of the whole step."""


class NotFinite(ArithmeticError):
    """A step that was not taken: the policy and its optimiser are as before. `bad`: indices of the rows to blame."""

    def __init__(self, what: str, rows: Rows, bad: Sequence[int]):
        super().__init__(what)
        self.what, self.rows, self.bad = what, rows, list(bad)


def score(policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int, temperature: float = 1.0) -> TokenScores:
    """Scores [B,T] of the tokens in `wanted` [B,T], without gradient; `max_tokens` bounds a forward pass."""
    with torch.no_grad():
        batches = forward_trunk(policy, rows, wanted, max_tokens)
        parts = [part for tokens in batches for part in run_head(policy, tokens, None, temperature)[1]]
    return _scatter(policy, parts, rows)


def over_vocabulary(
    policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int, function: Callable[[Tensor, Tensor], Tensor],
    temperature: float = 1.0,
) -> Tensor:  # fmt: skip
    """[B,T] what `function` makes of the logits [N,V] and ids [N] of the tokens in `wanted` [B,T], without gradient."""
    out = torch.zeros(rows.ids.shape, dtype=policy.score_dtype, device=policy.device)
    with torch.no_grad():
        for tokens in forward_trunk(policy, rows, wanted, max_tokens):
            for few in tokens.split(policy.head_rows):
                out[few.row, few.column] += function(policy.logits(few.hidden) / temperature, few.ids)
    return add_up(out, policy.lanes).to(rows.ids.device)


def fit(
    policy: Policy, optimizer: Optimizer, rows: Rows, wanted: Tensor, loss_fn: TokenLoss, update: UpdateSettings,
    temperature: float = 1.0, live: Tensor | None = None,
) -> tuple[TokenScores, dict[str, float]]:  # fmt: skip
    """Takes one optimiser step on the sum of `loss_fn` over all micro-batches of all lanes. Rows that are not in `live`
    [B] are known to have no gradient: they are scored, and cost no backward pass.

    Returns the scores under the policy before the update, and {"loss", "grad_norm"}. If one of these is not finite, the
    policy is left untouched and NotFinite names the rows to blame.
    """
    optimizer.zero_grad()
    live = torch.ones_like(rows.finished) if live is None else live
    gradients, losses, parts = LaneGradients(policy), [], []
    with policy.activation_checkpointing(update.checkpoint_activations):
        for which, learning in ((live, True), (~live, False)):
            index, budget = which.nonzero()[:, 0], update.micro_batch_tokens
            reading = Reading(policy, rows.select(index), wanted[index], budget)
            found = torch.zeros(reading.plan.passes, policy.lanes, dtype=torch.float64)
            with torch.set_grad_enabled(learning):
                for number, lane in reading.turns:
                    if tokens := reading.read(number, lane):
                        tokens = replace(tokens, row=index.to(policy.device)[tokens.row])
                        found[number, lane], scored = run_head(policy, tokens, loss_fn, temperature)
                        parts += scored
                    if learning:
                        gradients.take()
            losses += add_up(found, policy.lanes).flatten().tolist()
    total = sum(losses)
    gradients.put_back()
    policy.end_passes()
    grad_norm = clip_gradients(policy, update.max_grad_norm)
    if not (math.isfinite(total) and math.isfinite(grad_norm)):
        bad = nonfinite_rows(policy, rows, wanted, loss_fn, update.micro_batch_tokens, temperature)
        optimizer.zero_grad()
        raise NotFinite(f"loss {total:g}, gradient norm {grad_norm:g}", rows, bad)
    optimizer.step()
    return _scatter(policy, parts, rows), {"loss": total, "grad_norm": grad_norm}


class Reading:
    """Runs the trunk over the rows of this rank's lanes, pass by pass; only tokens in `wanted` [B,T] go to the head."""

    def __init__(self, policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int):
        limit = min(max_tokens, MAX_PASS_TOKENS_ON_CPU) if policy.device.type == "cpu" else max_tokens
        self._policy, self._wanted = policy, wanted.to(policy.device)
        self.plan = Plan.of(rows.to(policy.device), limit, policy.lanes)
        own = own_lanes(policy)
        self.turns = list(product(range(self.plan.passes), own))
        """(pass, lane) in the order in which they are read."""
        self._work = Work(sum(int(rows.length[read].sum()) for lane in own for read in self.plan.lanes[lane]))

    def read(self, number: int, lane: int) -> ForwardTokens | None:
        """Reads a pass of a lane; None where the lane has fewer."""
        packed = self.plan.packed(lane, number)
        if not packed:
            return self._policy.idle_pass()
        rows, layout = self.plan.rows, RowLayout.of(packed.column, packed.token)
        hidden = self._policy.hidden(packed.ids[None], packed.positions[None], None, layout)[0]
        at = ((packed.column > 0) & self._wanted[packed.row, packed.column]).nonzero()[:, 0]
        row, column = packed.row[at], packed.column[at]
        ids, space, chosen = (x[row, column] for x in (rows.ids, rows.action_space, rows.action_mask))
        before = embedding(packed.token[at - 1], hidden)  # its backward pass adds up where tokens share a prefix
        self._work.advance(len(packed.row))
        return ForwardTokens(before, ids, space, chosen, row, column)


def forward_trunk(policy: Policy, rows: Rows, wanted: Tensor, max_tokens: int) -> Iterator[ForwardTokens]:
    """Runs the trunk over the rows of this rank's lanes."""
    reading = Reading(policy, rows, wanted, max_tokens)
    for turn in reading.turns:
        if tokens := reading.read(*turn):
            yield tokens
    policy.end_passes()


def run_head(
    policy: Policy, tokens: ForwardTokens, loss_fn: TokenLoss | None, temperature: float
) -> tuple[float, list[Scored]]:
    """Scores these tokens; where gradients are enabled, adds the gradient of `loss_fn`. Returns loss and scores.

    The loss is a sum over tokens, so it is taken back through the output head a few tokens at a time: logits [n,V] live
    only from their forward to their backward pass, and nothing is computed twice. Then the trunk follows, once.
    """
    losses, parts, gradients = [], [], []
    for few in replace(tokens, hidden=tokens.hidden.detach()).split(policy.head_rows):
        leaf = few.hidden.requires_grad_(torch.is_grad_enabled())
        logits = policy.logits(leaf, learning=leaf.requires_grad)
        scores = token_scores(logits, few.ids, few.space, few.chosen, policy.spaces, temperature)
        del logits
        if loss_fn:
            loss = loss_fn(scores, few)
            losses.append(loss.detach())
            if loss.requires_grad:
                loss.backward()
        parts.append((few.row, few.column, scores.detach()))
        gradients.append(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
    if tokens.hidden.requires_grad:
        tokens.hidden.backward(torch.cat(gradients))
    return float(torch.stack(losses).double().sum()) if losses else 0.0, parts  # one wait for the device


def nonfinite_rows(
    policy: Policy, rows: Rows, wanted: Tensor, loss_fn: TokenLoss, max_tokens: int, temperature: float
) -> list[int]:
    """Finds the rows whose loss or gradient, each computed alone, is not finite. Overwrites the gradients."""
    bad = []
    for r in range(len(rows)):
        policy.model.zero_grad()
        alone = forward_trunk(replace(policy, lanes=1), rows.select([r]), wanted[r : r + 1], max_tokens)
        total = sum(run_head(policy, replace(t, row=t.row + r), loss_fn, temperature)[0] for t in alone)
        norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), math.inf)
        if not (math.isfinite(total) and bool(torch.isfinite(norm))):
            bad.append(r)
    return bad


def _scatter(policy: Policy, parts: Sequence[Scored], rows: Rows) -> TokenScores:
    """Puts the scores of all lanes in their tokens' places, [B,T], on the rows' device."""

    def place(name: str) -> Tensor:
        out = torch.zeros(rows.ids.shape, dtype=policy.score_dtype, device=policy.device)
        for row, column, scores in parts:
            out[row, column] = getattr(scores, name)
        return add_up(out, policy.lanes).to(rows.ids.device)

    return TokenScores(place("logp"), place("logp_action"), place("entropy"))


# Costs: floating-point operations that a model needs for rows of tokens, a multiplication and an addition a weight:
#
#     F = sum over tokens of  2 N  +  4 L H d v  +  2 D V h
#
# N: entries of the layers' matrices, without embedding and output head; L layers of H heads of size d; v: tokens that
# the token sees, itself among them; D V: width times vocabulary; h = 1 if the token reaches the head. A backward pass
# takes twice as many as the forward pass before it (Kaplan et al., arXiv 2001.08361, appendix B), or as many where all
# weights stay as they are but an adapter's. These are the model's operations, not the machine's: padding, shared
# prompts and recomputation are left out.


def forward_flops(policy: Policy, length: Tensor, head_tokens: float) -> float:
    """FLOPs of one pass over rows of `length` [B] tokens, `head_tokens` of which reach the head."""
    config = policy.model.config.get_text_config()
    heads, head = config.num_attention_heads, policy.model.get_output_embeddings().weight.numel()
    width = config.num_hidden_layers * heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    tokens, seen = float(length.sum()), float((length.double() * (length + 1) / 2).sum())
    weights = sum(matrix.numel() for matrix in layer_matrices(policy.model))
    return 2 * weights * tokens + 4 * width * seen + 2 * head * head_tokens


def sampling_cost(policy: Policy, rows: Rows) -> dict[str, float]:
    """What it took to sample `rows`, for the ledger: {"generated": tokens that the policy chose, "flops"}."""
    chosen, scored = rows.action_mask & ~rows.expert, rows.action_mask | rows.expert
    return {"generated": float(chosen.sum()), "flops": forward_flops(policy, rows.length, float(scored.sum()))}


def scoring_cost(policy: Policy, rows: Rows, wanted: Tensor) -> dict[str, float]:
    """What it takes to score the tokens in `wanted` [B,T]: {"scored", "flops"}."""
    tokens = float(wanted.sum())
    return {"scored": tokens, "flops": forward_flops(policy, rows.length, tokens)}


def training_cost(policy: Policy, rows: Rows, wanted: Tensor, live: Tensor | None = None) -> dict[str, float]:
    """What it takes to learn from the tokens in `wanted` [B,T]: {"trained", "flops"}, nothing if no row is `live`."""
    live = torch.ones_like(rows.finished) if live is None else live
    if not bool(live.any()):
        return {}
    passes = [(live, 2 + policy.learning_share), (~live, 1)]  # what stays as it is needs no gradient of its own
    flops = sum(times * forward_flops(policy, rows.length[own], float(wanted[own].sum())) for own, times in passes)
    return {"trained": float(wanted.sum()), "flops": flops}


class Optimizer:
    """One or two torch optimisers that step together under one learning-rate factor."""

    takes_shares = True

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts
        self.peaks = [[group["lr"] for group in part.param_groups] for part in parts]

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Applies the gradients."""
        for part in self.parts:
            part.step()

    def scale(self, factor: float) -> None:
        """Sets every learning rate to `factor` times its peak."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def state_dict(self) -> list[dict[str, Any]]:
        """State of all parts; where ranks hold shares, this rank's."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restores what `state_dict` returned."""
        for part, state in zip(self.parts, states, strict=True):
            learn = [p for group in part.param_groups for p in group["params"]]
            own = {i: {name: share_of(x, learn[i]) for name, x in kept.items()} for i, kept in state["state"].items()}
            part.load_state_dict(state | {"state": own})


MUON_LR_RATIO = 6.0
"""Muon's learning rate over AdamW's: its updates have unit spectral norm, AdamW's have unit entries."""


def make_optimizer(model: nn.Module, kind: str, learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """kind "adamw": AdamW for all. kind "muon": Muon (Jordan 2024; torch.optim.Muon) for the matrices inside the
    blocks, AdamW for embeddings, head, norms and biases."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if kind == "adamw":
        return Optimizer([_adamw(parameters, learning_rate, weight_decay)])
    inside = {id(p) for p in layer_matrices(model) if p.dim() == 2}
    matrices, rest = ([p for p in parameters if (id(p) in inside) == wanted] for wanted in (True, False))
    muon = torch.optim.Muon(matrices, lr=learning_rate * MUON_LR_RATIO, weight_decay=weight_decay, momentum=0.95)
    return Optimizer([muon, *([_adamw(rest, learning_rate, weight_decay)] if rest else [])])  # of an adapter nothing


def layer_matrices(model: Any) -> list[nn.Parameter]:
    """The matrices of a language model's layers: all but embedding and output head."""
    outside = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    return [p for p in model.parameters() if p.dim() > 1 and id(p) not in outside]


def warmup_cosine(progress: float, warmup: float, floor: float = 0.1) -> float:
    """Factor on the peak rate at `progress` in [0, 1]: linear to 1 over `warmup`, then a half cosine to `floor`."""
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / max(1 - warmup, 1e-9)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


def _adamw(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    fused = {p.device.type for p in parameters} <= {"cpu", "cuda"}
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=weight_decay, fused=fused)
