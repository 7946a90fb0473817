"""Interleaved rollouts with a key-value cache: sampled latents, forced expert steps.

A rollout reads every token of its document once: the cache holds what was read, each step enters as one chunk, only
latents are decoded token by token, and the decision to think costs nothing - it is read from the pass over the line
before. Where rows mostly act, a pass reads some steps ahead, and every boundary among them decides as if it had not,
from the same random number; what was read beyond a thought is forgotten. No row waits for another: one pass may read a
word of a comment here and a few steps there. Each row draws from random numbers of its own, whichever others share its
batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ra3.data.latents import EncodedDocument, Opening
from ra3.model.action_spaces import decision_logps, log_probability
from ra3.model.lanes import rows_by_lane
from ra3.model.policy import Policy
from ra3.rollout.decoding import DecodeBatch, Uniforms, sample_ids
from ra3.rows import COMMENT, DECISION, WORD, RowBuilder, Rows, build
from ra3.run.ledger import Work

MIN_ACT_PROBABILITY = 0.6
"""A step is read ahead if all boundaries before it act with this probability: one in vain costs about half a pass."""
MAX_CHUNK_TOKENS = 32
"""Tokens of a chunk with steps that are read ahead, at most."""
GivenLatents = Sequence[Mapping[int, Sequence[int]]]
"""For each document {step: ids of the latent before it}."""


@dataclass(frozen=True)
class LatentRules:
    """How latents may be sampled."""

    max_latent_tokens: int
    """A comment is closed by force after so many tokens."""
    think_floor: float = 0.0
    """Least probability of think while sampling (exploration; the ratio to the policy corrects for it)."""
    think: bool = True
    """False: every boundary acts, which is plain next-token prediction."""


@torch.no_grad()
def interleave(
    policy: Policy, documents: Sequence[EncodedDocument], group_size: int, rules: LatentRules, seeds: Sequence[int]
) -> Rows:
    """Samples `group_size` rollouts of every document, row d * group_size + g the g-th of document d; each has a seed.

    At each boundary where the document allows it the policy decides between think and act; if it thinks, it writes a
    comment until it ends or `max_latent_tokens`; then the expert's step is forced in.
    """
    if policy.lanes == 1:
        with policy.gathered():
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


class Choice(NamedTuple):
    """What a boundary decides, with log-probability and importance of the choice."""

    thinks: bool
    logp: float
    importance: float


class Word(NamedTuple):
    """A token of a comment."""

    token: int
    logp: float
    """Log-probability among all tokens,"""
    logp_comment: float
    """and of the choice that it stands for, among those inside a comment."""
    ends: bool
    """It is the last one."""


class StepRead(NamedTuple):
    """A step that was read before the boundary in front of it decided."""

    place: int
    """Of its first token, in the pass that read it."""
    logp: list[float]


@dataclass
class Cursor:
    """One row: at the boundary before step `t`, or in a comment there."""

    row: RowBuilder
    steps: Sequence[tuple[int, ...]]
    openings: Sequence[Opening | None]
    t: int = 0
    comment_length: int | None = None
    """Words of the comment under way, None at the boundary itself."""
    act: Choice | None = None
    """The decision to act here, where there was one to take."""
    chunk: tuple[int, ...] = ()
    """What the row reads next, empty while that is open."""
    num_steps_read: int = 0
    """Steps that `chunk` ends with."""
    ahead: list[StepRead] = field(default_factory=list)
    """Steps from `t` on that have been read already."""

    @classmethod
    def start(cls, policy: Policy, group: int, document: EncodedDocument, rules: LatentRules) -> Self:
        """Stands before the first step."""
        row = RowBuilder.start(group, [*policy.start_ids, *document.context_ids])
        openings = document.openings if rules.think else [None] * len(document.openings)
        return cls(row, forced_steps(document, policy.end_id), openings)

    @property
    def done(self) -> bool:
        """Whether the last step has been read."""
        return self.t == len(self.steps)

    def open_boundaries(self) -> list[tuple[int | None, Opening]]:
        """Boundaries that the row has come to and where it may choose: the place of the step read after it, or None."""
        places = [*(step.place for step in self.ahead), None]
        return [(place, own) for place, own in zip(places, self.openings[self.t :], strict=False) if own]

    def decide(self, choices: Iterable[Choice], think_ids: Sequence[int]) -> list[Choice]:
        """Goes on through the steps read ahead, until a boundary thinks: choices and steps beyond are dropped, as made
        for a text without that thought. Returns the choices that were taken."""
        left, ahead, taken = iter(choices), self.ahead, []
        self.ahead = []
        for step in [*ahead, None]:
            if not self.done and (opening := self.openings[self.t]):
                taken.append(choice := next(left))
                if choice.thinks:
                    token, space = think_ids[opening.think], DECISION + opening.think
                    self.row.append(token, self.t, space, choice.logp, choice.logp, choice.importance)
                    self.chunk, self.num_steps_read, self.comment_length = (token,), 0, 0
                    break
                self.act = choice
            if step:
                self.pass_step(step.logp)
        return taken

    def read_next(self, before: Sequence[int], act_rate: float) -> None:
        """Plans to read `before`, the next step, and more while the row is likely to act, each time by `act_rate`."""
        chunk, end, likely = [*before, *self.steps[self.t]], self.t + 1, 1.0
        while end < len(self.steps) and len(chunk) + len(self.steps[end]) <= MAX_CHUNK_TOKENS:
            likely *= act_rate if self.openings[end] else 1.0
            if likely < MIN_ACT_PROBABILITY:
                break
            chunk += self.steps[end]
            end += 1
        self.chunk, self.num_steps_read, self.comment_length = tuple(chunk), end - self.t, None

    @property
    def close(self) -> tuple[int, ...]:
        """Ids that end the comment under way."""
        return opening.close if (opening := self.openings[self.t]) else ()

    def write(self, word: Word, max_tokens: int) -> bool:
        """Adds one more word of the comment, next to be read, and returns whether it ends; its close is forced then, as
        it is after word `max_tokens`."""
        space = COMMENT if self.comment_length else WORD
        self.row.append(word.token, self.t, space, word.logp, word.logp_comment)
        self.comment_length = (self.comment_length or 0) + 1
        full = self.comment_length == max_tokens and not word.ends
        rest = self.close[1:] if word.ends else self.close if full else ()
        self.row.force(rest, self.t, [0.0] * len(rest), expert=False)
        self.row.finished &= not full
        self.chunk = (word.token, *rest)
        return word.ends or full

    def next_steps(self) -> Sequence[tuple[int, ...]]:
        """The steps that `chunk` ends with."""
        return self.steps[self.t : self.t + self.num_steps_read]

    def take_read(self, scored: Iterator[tuple[int, float]]) -> None:
        """Takes note that the chunk was read; `scored` goes on with (place, log-probability) of its steps' tokens."""
        for step in self.next_steps():
            places, logp = zip(*islice(scored, len(step)), strict=True)
            self.ahead.append(StepRead(places[0], list(logp)))
        self.chunk, self.num_steps_read = (), 0
        if self.ahead:
            self.pass_step(self.ahead.pop(0).logp)

    def pass_step(self, logp: Sequence[float]) -> None:
        """Adds the step, which has been read and scored, and goes on to the next boundary."""
        step = self.steps[self.t]
        self.row.force(step, self.t, logp)
        if self.act and (opening := self.openings[self.t]):
            self.row.mark_decision(len(self.row.ids) - len(step), opening.think, self.act.logp, self.act.importance)
        self.t, self.act = self.t + 1, None


def forced_steps(document: EncodedDocument, end_id: int) -> list[tuple[int, ...]]:
    """The ids of each expert step; a document that was read to its end closes with the end-of-text token."""
    steps = list(document.step_ids)
    return steps if document.cut else [*steps[:-1], (*steps[-1], end_id)]
