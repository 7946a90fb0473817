"""Interleaved rollouts with a key-value cache: sampled latents, forced expert steps.

A rollout reads every token of its document once: the cache holds what was read, each step enters as one chunk, only
latents are decoded token by token, and the decision to think costs nothing - it is read from the pass over the line
before. No row waits for another: one pass may read a word of a comment here and a whole step there. Each row draws from
its own stream of random numbers, so a rollout does not depend on which others share its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import torch
from torch import Tensor

from ra3.actions import decision_logps, mask_logits
from ra3.flops import counted
from ra3.latents import EncodedDocument
from ra3.ledger import phase
from ra3.policy import Policy
from ra3.rows import COMMENT, DECISION, RowBuilder, Rows, build
from ra3.walk import Uniforms, Walk, choose, chosen_logp


@dataclass(frozen=True)
class LatentRules:
    """How latents may be sampled."""

    max_latent_tokens: int
    """A comment is closed by force after so many tokens."""
    think_floor: float = 0.0
    """Least probability of think while sampling (exploration; the ratio to the policy corrects for it)."""
    think: bool = True
    """False: every boundary acts, which is plain next-token prediction."""


@dataclass
class Rollout:
    """One row on its way through its document: at the boundary before step `t`, or in a comment there."""

    row: RowBuilder
    steps: Sequence[tuple[int, ...]]
    may_think: Sequence[bool]
    t: int = 0
    words: int | None = None
    """Words of the comment under way, None at the boundary itself."""
    act: tuple[float, float] | None = None
    """(log q(act), importance) if the policy chose to act here."""
    chunk: tuple[int, ...] = ()
    """What the row reads next."""

    @classmethod
    def start(cls, policy: Policy, group: int, document: EncodedDocument) -> Self:
        """Before the first step."""
        row = RowBuilder.start(group, [policy.start_id, *document.context_ids])
        return cls(row, forced_steps(document, policy.end_id), document.may_think)

    @property
    def done(self) -> bool:
        """The last step has been read."""
        return self.t == len(self.steps)

    @property
    def step(self) -> tuple[int, ...]:
        """The step that the boundary or the comment stands before."""
        return self.steps[self.t]

    def go_on(self, logp: Sequence[float]) -> None:
        """The step has been read and scored: the next boundary."""
        self.row.force(self.step, self.t, logp)
        if self.act:
            self.row.mark_decision(len(self.row.ids) - len(self.step), *self.act)
        self.t, self.act = self.t + 1, None


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
    rollouts = [Rollout.start(policy, i, d) for i, d in enumerate(documents) for _ in range(group_size)]
    draws = Uniforms(seeds, max(len(r.steps) for r in rollouts) * (rules.max_latent_tokens + 1))
    while len(rows := walk.alive()):
        alive = rows.tolist()
        writing = [r for r in alive if rollouts[r].words is not None]
        at_boundary = [r for r in alive if rollouts[r].words is None]
        _write(walk, rollouts, writing, rules, draws)
        _decide(walk, rollouts, at_boundary, rules, draws)
        _read(walk, rollouts, alive)
        walk.end([r for r in alive if rollouts[r].done])
    return counted(policy, build([rollout.row for rollout in rollouts]))


def forced_steps(document: EncodedDocument, end_id: int) -> list[tuple[int, ...]]:
    """The ids of each expert step; a document that was read to its end closes with the end-of-text token."""
    steps = list(document.step_ids)
    return steps if document.cut else [*steps[:-1], (*steps[-1], end_id)]


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


def _decide(walk: Walk, rollouts: Sequence[Rollout], rows: Sequence[int], rules: LatentRules, draws: Uniforms) -> None:
    """Think or act, where the policy may choose; elsewhere the next step follows at once."""
    for r in rows:
        rollouts[r].chunk = rollouts[r].step
    deciding = [r for r in rows if rules.think and rollouts[r].may_think[rollouts[r].t]]
    if not deciding:
        return
    think_id = walk.policy.syntax.think_id
    log_think, log_act = decision_logps(walk.logits(deciding), think_id)
    behaviour = log_think.exp().clamp(min=rules.think_floor)
    thinks = (draws.next(deciding).to(behaviour.device) < behaviour).tolist()
    logp = torch.stack([log_act, log_think], 1)
    importance = logp.exp() / torch.stack([1 - behaviour, behaviour], 1)
    importance = torch.where((log_think.exp() < rules.think_floor)[:, None], importance, 1.0)
    for r, think, logps, weights in zip(deciding, thinks, logp.tolist(), importance.tolist(), strict=True):
        rollout = rollouts[r]
        if think:
            rollout.row.append(think_id, rollout.t, DECISION, logps[1], logps[1], weights[1])
            rollout.chunk, rollout.words = (think_id,), 0
        else:
            rollout.act = logps[0], weights[0]


def _write(walk: Walk, rollouts: Sequence[Rollout], rows: Sequence[int], rules: LatentRules, draws: Uniforms) -> None:
    """One more word of each comment; a newline or the last word allowed ends it, and the step follows."""
    if not rows:
        return
    logits, newline = walk.logits(rows), walk.policy.syntax.newline_id
    allowed = mask_logits(logits, walk.policy.spaces.comment_mask)
    tokens = choose(allowed, draws.next(rows))
    full, own = chosen_logp(logits, tokens).tolist(), chosen_logp(allowed, tokens).tolist()
    for r, token, logp, old in zip(rows, tokens.tolist(), full, own, strict=True):
        rollout = rollouts[r]
        rollout.row.append(token, rollout.t, COMMENT, logp, old)
        rollout.chunk, rollout.words = (token,), (rollout.words or 0) + 1
        if token != newline and rollout.words == rules.max_latent_tokens:
            rollout.row.force([newline], rollout.t, [0.0], expert=False)
            rollout.row.closed, rollout.chunk = False, (token, newline)
        if rollout.chunk[-1] == newline:
            rollout.chunk, rollout.words = (*rollout.chunk, *rollout.step), None


def _read(walk: Walk, rollouts: Sequence[Rollout], rows: Sequence[int]) -> None:
    """Every row reads its chunk; the steps among them are scored."""
    chunks = [rollouts[r].chunk for r in rows]
    before = walk.read(rows, [token for chunk in chunks for token in chunk], [len(c) for c in chunks])
    ends = accumulate(len(c) for c in chunks)
    stepping = [(rollouts[r], end) for r, end in zip(rows, ends, strict=True) if rollouts[r].words is None]
    places = [place for rollout, end in stepping for place in range(end - len(rollout.step), end)]
    targets = [token for rollout, _ in stepping for token in rollout.step]
    logp = iter(_logp(walk.policy, before[torch.tensor(places, dtype=torch.long, device=before.device)], targets))
    for rollout, _ in stepping:
        rollout.go_on([next(logp) for _ in rollout.step])


def _logp(policy: Policy, before: Tensor, targets: Sequence[int]) -> list[float]:
    """Log-probabilities of N tokens from the hidden states [N,D] before them, a few at a time."""
    if not targets:
        return []
    columns = (x.split(policy.head_rows) for x in (before, torch.tensor(targets, device=before.device)))
    return [x for hidden, ids in zip(*columns, strict=True) for x in chosen_logp(policy.logits(hidden), ids).tolist()]
