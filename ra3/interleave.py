"""Interleaved rollouts with a key-value cache: sampled latents, forced expert steps.

The cache holds what a row has read. Steps enter several at a time, only latents are decoded token by token, and the
decision to think costs nothing - it is read from the pass over the line before (see ra3/lookahead.py). No row waits for
another: one pass may read a word of a comment here and some steps there. Each row draws from its own stream of random
numbers, so a rollout does not depend on which others share its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from ra3.actions import decision_logps, mask_logits
from ra3.flops import counted
from ra3.latents import EncodedDocument
from ra3.ledger import phase
from ra3.lookahead import Choice, LatentRules, Rollout, forced_steps
from ra3.policy import Policy
from ra3.rows import RowBuilder, Rows, build
from ra3.walk import Uniforms, Walk, choose, chosen_logp


@phase("rollouts")
@torch.no_grad()
def interleave(
    policy: Policy, documents: Sequence[EncodedDocument], group_size: int, rules: LatentRules, seeds: Sequence[int]
) -> Rows:
    """`group_size` rollouts of every document; row d * group_size + g is the g-th of document d, `seeds` one per row.

    At each boundary where the document allows it the policy decides between think and act; if it thinks, it writes a
    comment until the line ends or `max_latent_tokens`; then the expert's step is forced in.
    """
    walk = Walk(policy, [[policy.start_id, *d.context_ids] for d in documents], group_size)
    rollouts = [Rollout.start(policy, i, d, rules) for i, d in enumerate(documents) for _ in range(group_size)]
    draws = Uniforms(seeds, max(len(r.steps) for r in rollouts) * (rules.max_latent_tokens + 1))
    while len(rows := walk.alive()):
        alive = rows.tolist()
        open_rows = [r for r in alive if not rollouts[r].chunk]
        writing = [r for r in open_rows if rollouts[r].words is not None]
        at_boundary = [r for r in open_rows if rollouts[r].words is None]
        _write(walk, rollouts, writing, draws)
        _decide(walk, rollouts, at_boundary, rules, draws)
        _read(walk, rollouts, alive, rules, draws)
        walk.end([r for r in alive if rollouts[r].done])
    return counted(policy, build([rollout.row for rollout in rollouts]))


def expert_rows(policy: Policy, documents: Sequence[EncodedDocument], decisions: bool = False) -> Rows:
    """The documents as they are, without any latent; `decisions` marks the boundaries where the policy may choose."""
    builders = []
    for i, document in enumerate(documents):
        builder = RowBuilder.start(i, [policy.start_id, *document.context_ids])
        for t, step in enumerate(forced_steps(document, policy.end_id)):
            builder.force(step, t, [0.0] * len(step))
            if decisions and document.may_think[t]:
                builder.mark_decision(len(builder.ids) - len(step), 0.0)
        builders.append(builder)
    return build(builders)


def _write(walk: Walk, rollouts: Sequence[Rollout], rows: Sequence[int], draws: Uniforms) -> None:
    """One more word of each comment."""
    if not rows:
        return
    logits = walk.logits(rows)
    allowed = mask_logits(logits, walk.policy.spaces.comment_mask)
    tokens = choose(allowed, draws.at(rows, [rollouts[r].drawn for r in rows]))
    full, own = chosen_logp(logits, tokens), chosen_logp(allowed, tokens)
    for r, *word in zip(rows, tokens.tolist(), full.tolist(), own.tolist(), strict=True):
        rollouts[r].write(*word)


def _decide(walk: Walk, rollouts: Sequence[Rollout], rows: Sequence[int], rules: LatentRules, draws: Uniforms) -> None:
    """Think or act, where the policy may choose; elsewhere the next step follows at once."""
    for r in rows:
        rollouts[r].read_on()
    deciding = [r for r in rows if rollouts[r].chooses[rollouts[r].t]]
    if deciding:
        logps = torch.stack(decision_logps(walk.logits(deciding), walk.policy.syntax.think_id))
        uniform = draws.at(deciding, [rollouts[r].drawn for r in deciding])
        for r, choice in zip(deciding, _choices(logps, uniform, rules.think_floor), strict=True):
            rollouts[r].choose(choice)


def _choices(logps: Tensor, uniform: Tensor, floor: float) -> list[Choice]:
    """(log q(think), log q(act)) [2,M] and M numbers in [0, 1) -> the choices at M boundaries."""
    behaviour = logps[0].exp().clamp(min=floor)
    thinks = uniform.to(logps.device) < behaviour
    logp = torch.where(thinks, logps[0], logps[1])
    importance = logp.exp() / torch.where(thinks, behaviour, 1 - behaviour)
    importance = torch.where(logps[0].exp() < floor, importance, 1.0)
    return [Choice(*found) for found in zip(thinks.tolist(), logp.tolist(), importance.tolist(), strict=True)]


def _read(walk: Walk, rollouts: Sequence[Rollout], rows: Sequence[int], rules: LatentRules, draws: Uniforms) -> None:
    """Every row reads its chunk; the steps in it are scored, and kept up to the first boundary at which it thinks."""
    chunks = [rollouts[r].chunk for r in rows]
    before = walk.read(rows, [token for chunk in chunks for token in chunk], [len(chunk) for chunk in chunks])
    places, targets, is_open, numbers = [], [], [], []
    for r, chunk, end in zip(rows, chunks, accumulate(map(len, chunks)), strict=True):
        own = rollouts[r].open_choices
        places += range(end - len(own), end)
        targets += chunk[len(chunk) - len(own) :]
        numbers += [(r, rollouts[r].drawn + n) for n in range(sum(own))]
        is_open += own
    hidden = before[torch.tensor(places, dtype=torch.long, device=before.device)]
    logp, logps = _scored(walk.policy, hidden, targets, is_open)
    choices = iter(_choices(logps, draws.at(*zip(*numbers, strict=True)), rules.think_floor) if numbers else ())
    vain, at = [], 0
    for r in rows:
        size = sum(map(len, rollouts[r].ahead))
        unread = rollouts[r].take(logp[at : at + size], choices)
        at += size
        if unread:
            vain.append((r, unread, at - unread))
    if vain:
        thinking, unread, places = zip(*vain, strict=True)
        walk.take_back(thinking, unread, hidden[torch.tensor(places, device=hidden.device)])


def _scored(policy: Policy, before: Tensor, targets: list[int], is_open: list[bool]) -> tuple[list[float], Tensor]:
    """The hidden states [N,D] before N tokens -> the log-probability of each, and (log q(think), log q(act)) [2,M] at
    those before which a choice is open. A few tokens at a time reach the head."""
    logp, logps = [], [torch.empty(2, 0, dtype=policy.score_dtype, device=before.device)]
    columns = (before, torch.tensor(targets, device=before.device), torch.tensor(is_open, device=before.device))
    for hidden, ids, where in zip(*(x.split(policy.head_rows) for x in columns), strict=True):
        if len(ids):
            logits = policy.logits(hidden)
            logp += chosen_logp(logits, ids).tolist()
            logps.append(torch.stack(decision_logps(logits[where], policy.syntax.think_id)))
    return logp, torch.cat(logps, 1)
