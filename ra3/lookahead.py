"""One row on its way through its document, reading ahead of its choices.

What follows a boundary is known if the row acts there: the expert's next step. So a row reads several steps in one
pass, as speculative decoding reads a draft (arXiv 2211.17192). The choices at the boundaries between them are drawn
from that pass, with the random numbers that they would have had one by one; at the first that thinks, what was read
after it is taken back. The rollouts are the same, the passes are fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Self

from ra3.latents import EncodedDocument
from ra3.policy import Policy
from ra3.rows import COMMENT, DECISION, RowBuilder

AHEAD = 16
"""Tokens of steps that a row reads at once, at most; a single step may be longer."""
FIRST_STRIDE = 2
"""Steps that it reads at once at its beginning, and after an intention."""


@dataclass(frozen=True)
class LatentRules:
    """How latents may be sampled."""

    max_latent_tokens: int
    """A comment is closed by force after so many tokens."""
    think_floor: float = 0.0
    """Least probability of think while sampling (exploration; the ratio to the policy corrects for it)."""
    think: bool = True
    """False: every boundary acts, which is plain next-token prediction."""


@dataclass(frozen=True)
class Choice:
    """What was chosen at a boundary, its log-probability, and the importance weight of having chosen it."""

    think: bool
    logp: float
    importance: float


@dataclass
class Rollout:
    """A row at the boundary before step `t`, or in a comment there."""

    row: RowBuilder
    steps: Sequence[tuple[int, ...]]
    chooses: Sequence[bool]
    """At which boundaries it may think."""
    rules: LatentRules
    think_id: int
    newline_id: int
    t: int = 0
    words: int | None = None
    """Words of the comment under way, None at the boundary itself."""
    act: Choice | None = None
    """The choice to act here, where there was one."""
    drawn: int = 0
    """Random numbers used, one for each choice and each word."""
    chunk: tuple[int, ...] = ()
    """What the row reads next; empty while that is not known."""
    ahead: Sequence[tuple[int, ...]] = ()
    """The steps that the chunk ends with."""
    stride: int = FIRST_STRIDE
    """How many these may be: twice as many each time, until the row thinks."""

    @classmethod
    def start(cls, policy: Policy, group: int, document: EncodedDocument, rules: LatentRules) -> Self:
        """Before the first step."""
        row = RowBuilder.start(group, [policy.start_id, *document.context_ids])
        chooses = document.may_think if rules.think else [False] * len(document.step_ids)
        steps, syntax = forced_steps(document, policy.end_id), policy.syntax
        return cls(row, steps, chooses, rules, syntax.think_id, syntax.newline_id)

    @property
    def done(self) -> bool:
        """The last step has been read."""
        return self.t == len(self.steps)

    @property
    def open_choices(self) -> list[bool]:
        """For each token of the steps that the row reads, whether a choice that is still to be made comes before it."""
        found = []
        for t, step in enumerate(self.ahead, self.t):
            found += [t > self.t and self.chooses[t], *[False] * (len(step) - 1)]
        return found

    def read_on(self, *first: int) -> None:
        """Next the row reads the tokens `first`, its step, and some steps more in the hope that it acts there."""
        steps = self.steps[self.t : self.t + self.stride]
        self.ahead = steps[: max(1, sum(read <= AHEAD for read in accumulate(map(len, steps))))]
        self.chunk = (*first, *chain.from_iterable(self.ahead))

    def choose(self, choice: Choice) -> None:
        """Acts, or opens a new intention, which is read before the step."""
        self.drawn += 1
        if not choice.think:
            self.act = choice
            return
        self.row.append(self.think_id, self.t, DECISION, choice.logp, choice.logp, choice.importance)
        self.chunk, self.ahead, self.words, self.stride = (self.think_id,), (), 0, FIRST_STRIDE

    def write(self, token: int, logp: float, logp_old: float) -> None:
        """One more word of the comment; a newline or the last word allowed ends it, and the step follows."""
        self.drawn, self.words = self.drawn + 1, (self.words or 0) + 1
        self.row.append(token, self.t, COMMENT, logp, logp_old)
        self.chunk = (token,)
        if token != self.newline_id and self.words == self.rules.max_latent_tokens:
            self.row.force([self.newline_id], self.t, [0.0], expert=False)
            self.row.closed, self.chunk = False, (token, self.newline_id)
        if self.chunk[-1] == self.newline_id:
            self.words = None
            self.read_on(*self.chunk)

    def take(self, logp: Sequence[float], choices: Iterator[Choice]) -> int:
        """The chunk has been read, `logp` of the tokens of its steps, and `choices` at its boundaries.

        Returns how many of the tokens come after a boundary at which the row thinks: they were read in vain.
        """
        ahead, self.chunk, self.ahead, at = self.ahead, (), (), 0
        if not ahead:
            return 0
        new = [next(choices) if self.chooses[t] else None for t in range(self.t + 1, self.t + len(ahead))]
        for step, choice in zip(ahead, (None, *new), strict=True):
            if choice:
                self.choose(choice)
            if self.chunk:
                return len(logp) - at
            self._go_on(step, logp[at : at + len(step)])
            at += len(step)
        self.stride *= 2
        return 0

    def _go_on(self, step: Sequence[int], logp: Sequence[float]) -> None:
        """The step has been read and scored: the next boundary."""
        self.row.force(step, self.t, logp)
        if self.act:
            self.row.mark_decision(len(self.row.ids) - len(step), self.act.logp, self.act.importance)
        self.t, self.act = self.t + 1, None


def forced_steps(document: EncodedDocument, end_id: int) -> list[tuple[int, ...]]:
    """The ids of each expert step; a document that was read to its end closes with the end-of-text token."""
    steps = list(document.step_ids)
    return steps if document.cut else [*steps[:-1], (*steps[-1], end_id)]
