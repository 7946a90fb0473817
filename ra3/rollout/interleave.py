"""Interleaved rollouts with a key-value cache: sampled latents, forced expert steps.

A rollout reads every token of its document once: the cache holds what was read, each step enters as one chunk, only
latents are decoded token by token, and the decision to think costs nothing - it is read from the pass over the line
before, or over some lines before where rows mostly act. No row waits for another: one pass may read a word of a comment
here and a few steps there. Each row draws from random numbers of its own, whichever others share its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.data.latents import EncodedDocument
from ra3.model.action_spaces import decision_logps, log_probability
from ra3.model.lanes import rows_by_lane
from ra3.model.policy import Policy
from ra3.rollout.cursor import Choice, Cursor, LatentRules, Word, forced_steps
from ra3.rollout.decoding import DecodeBatch, Uniforms, sample_ids
from ra3.rows import RowBuilder, Rows, build
from ra3.run.progress import Work

GivenLatents = Sequence[Mapping[int, Sequence[int]]]
"""For each document {step: ids of the latent before it}."""


@torch.no_grad()
def interleave(
    policy: Policy, documents: Sequence[EncodedDocument], group_size: int, rules: LatentRules, seeds: Sequence[int]
) -> Rows:
    """Samples `group_size` rollouts of every document, row d * group_size + g the g-th of document d; each has a seed.

    At each boundary where the document allows it the policy decides between think and act; if it thinks, it writes a
    comment until it ends or `max_latent_tokens`; then the expert's step is forced in.
    """
    if policy.lanes == 1:
        return _interleaved(policy, documents, group_size, rules, seeds)

    def of(lane: list[int]) -> Rows:
        own = [seeds[d * group_size + g] for d in lane for g in range(group_size)]
        return _interleaved(policy, [documents[d] for d in lane], group_size, rules, own)

    return rows_by_lane(policy, len(documents), of)


def _interleaved(
    policy: Policy, documents: Sequence[EncodedDocument], group_size: int, rules: LatentRules, seeds: Sequence[int]
) -> Rows:
    """The rollouts of one lane."""
    cursors = [Cursor.start(policy, i, d, rules) for i, d in enumerate(documents) for _ in range(group_size)]
    batch = DecodeBatch(policy, [[*policy.start_ids, *d.context_ids] for d in documents], group_size)
    draws = Uniforms(seeds, max(len(c.steps) for c in cursors) * (rules.max_latent_tokens + 1))
    sampler = InterleavedSampler(batch, cursors, rules, draws)
    work = Work(sum(len(step) for cursor in cursors for step in cursor.steps))
    while len(rows := batch.running()):
        running = rows.tolist()
        stood = [cursors[r].t for r in running]
        sampler.decide([r for r in running if not cursors[r].chunk], batch.last_hidden[:0])  # those just started
        before = sampler.read(running)
        at_boundary = [r for r in running if cursors[r].comment_length is None]
        sampler.write([r for r in running if cursors[r].comment_length is not None])
        sampler.decide(at_boundary, before)
        batch.finish([r for r in running if cursors[r].done])
        passed = (step for r, t in zip(running, stood, strict=True) for step in cursors[r].steps[t : cursors[r].t])
        work.advance(sum(map(len, passed)))  # of the expert's tokens: comments, and what is read twice, are no end
    return build([cursor.row for cursor in cursors])


def expert_rows(
    policy: Policy, documents: Sequence[EncodedDocument], decisions: bool = False, latents: GivenLatents | None = None
) -> Rows:
    """The documents as they are, or with these latents; `decisions` marks boundaries where the policy may choose."""
    builders = []
    for i, document in enumerate(documents):
        builder, own = RowBuilder.start(i, [*policy.start_ids, *document.context_ids]), latents[i] if latents else {}
        for t, step in enumerate(forced_steps(document, policy.end_id)):
            latent = own.get(t, ())
            builder.force(latent, t, [0.0] * len(latent), expert=False)
            builder.force(step, t, [0.0] * len(step))
            if decisions and (opening := document.openings[t]):
                builder.mark_decision(len(builder.ids) - len(step), opening.think, 0.0)
        builders.append(builder)
    return build(builders)


@dataclass
class InterleavedSampler:
    """The rollouts of a batch, and what they share; `rows` name rollouts by their number."""

    batch: DecodeBatch
    cursors: Sequence[Cursor]
    rules: LatentRules
    draws: Uniforms
    acts: int = 1
    """How often boundaries have acted so far,"""
    boundaries: int = 2
    """of so many: the more they act, the further ahead rows read."""

    def decide(self, rows: Sequence[int], before: Tensor) -> None:
        """Decides between think and act at every boundary that these rows have come to; what they read next follows.

        `before` [N,D]: hidden states before each token of the last pass.
        """
        choices = self._choices(rows, before)
        for r in rows:
            cursor = self.cursors[r]
            taken = cursor.decide(choices[r], self.batch.policy.syntax.think_ids)
            self.acts += sum(not choice.thinks for choice in taken)
            self.boundaries += len(taken)
            self.draws.used[r] += len(taken)
            if cursor.comment_length is not None:  # it thinks: the row is as long as the cache must hold, less "#"
                self.batch.rewind(r, len(cursor.row.ids) - 1)
            elif not cursor.done:
                cursor.read_next((), self.acts / self.boundaries)

    def write(self, rows: Sequence[int]) -> None:
        """Samples one more word of each comment; after its end, or the last word allowed, the step follows."""
        if not rows:
            return
        spaces, logits = self.batch.policy.spaces, self.batch.logits(rows)
        may_end = torch.tensor([bool(self.cursors[r].comment_length) for r in rows], device=logits.device)
        own = spaces.comment_logits(logits, may_end)
        choice = sample_ids(own, self.draws.next(rows))
        close = torch.tensor([self.cursors[r].close[0] for r in rows], device=logits.device)
        tokens = torch.where(spaces.breaks[choice], close, choice)  # whichever line break it is, this one is written
        words = tokens, log_probability(logits, tokens), log_probability(own, choice), spaces.ends_comment(choice)
        for r, *word in zip(rows, *(column.tolist() for column in words), strict=True):
            cursor = self.cursors[r]
            if cursor.write(Word(*word), self.rules.max_latent_tokens):
                cursor.read_next(cursor.chunk, self.acts / self.boundaries)

    def read(self, rows: Sequence[int]) -> Tensor:
        """Makes rows read their chunks, scores the steps among them; returns hidden states [N,D] before each token."""
        chunks = [self.cursors[r].chunk for r in rows]
        before = self.batch.read(rows, [token for chunk in chunks for token in chunk], [len(c) for c in chunks])
        places, targets, end = [], [], 0
        for r, chunk in zip(rows, chunks, strict=True):
            own = sum(map(len, self.cursors[r].next_steps()))
            end += len(chunk)
            places += range(end - own, end)
            targets += chunk[len(chunk) - own :]
        index, ids = (torch.tensor(x, dtype=torch.long, device=before.device) for x in (places, targets))
        scored = zip(places, self.batch.policy.by_parts(log_probability, before[index], ids).tolist(), strict=True)
        for r in rows:
            self.cursors[r].take_read(scored)
        return before

    def _choices(self, rows: Sequence[int], before: Tensor) -> dict[int, list[Choice]]:
        """What the boundaries that the rows have come to decide, if those before them act."""
        found: dict[int, list[Choice]] = {r: [] for r in rows}
        at = [(r, i, *own) for r in rows for i, own in enumerate(self.cursors[r].open_boundaries())]
        if not at:
            return found
        owners, nth, _, openings = zip(*at, strict=True)
        batch, floor = self.batch, self.rules.think_floor
        index = [len(before) + int(batch.slot[r]) if place is None else place for r, _, place, _ in at]
        hidden = torch.cat([before, batch.last_hidden])[torch.tensor(index, device=before.device)]
        think_id = batch.policy.spaces.think_ids[torch.tensor([own.think for own in openings], device=before.device)]
        log_think, log_act = batch.policy.by_parts(decision_logps, hidden, think_id).unbind(-1)
        behaviour = log_think.exp().clamp(min=floor)
        thinks = self.draws.peek(owners, nth).to(behaviour.device) < behaviour
        logp = torch.where(thinks, log_think, log_act)
        importance = logp.exp() / torch.where(thinks, behaviour, 1 - behaviour)
        importance = torch.where(log_think.exp() < floor, importance, 1.0)
        for r, *choice in zip(owners, thinks.tolist(), logp.tolist(), importance.tolist(), strict=True):
            found[r].append(Choice(*choice))
        return found
