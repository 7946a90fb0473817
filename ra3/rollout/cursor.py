"""One rollout's place in its document: what it has decided so far, and what it reads next.

Where rows mostly act, a pass reads some steps ahead, and every boundary among them decides as if it had not, from the
same random number; what was read beyond a thought is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Self

from ra3.data.latents import EncodedDocument, Opening
from ra3.model.policy import Policy
from ra3.rows import COMMENT, DECISION, WORD, RowBuilder

MIN_ACT_PROBABILITY = 0.6
"""A step is read ahead if all boundaries before it act with this probability: one in vain costs about half a pass."""
MAX_CHUNK_TOKENS = 32
"""Tokens of a chunk with steps that are read ahead, at most."""


@dataclass(frozen=True)
class LatentRules:
    """How latents may be sampled."""

    max_latent_tokens: int
    """A comment is closed by force after so many tokens."""
    think_floor: float = 0.0
    """Least probability of think while sampling (exploration; the ratio to the policy corrects for it)."""
    think: bool = True
    """False: every boundary acts, which is plain next-token prediction."""


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
