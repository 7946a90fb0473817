"""Free generation with a key-value cache: completions of prompts, each prompt read once for all its samples.

Each row draws from its own stream of random numbers, so a completion does not depend on which others share its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ra3.model.flops import counted
from ra3.model.policy import Policy
from ra3.rollout.decoding import Uniforms, Walk, choose, chosen_logp
from ra3.rows import RowBuilder, Rows, build
from ra3.run.ledger import phase

MAX_SAMPLED_ROWS = 256
"""Completions that are asked for at once, where many are."""


@dataclass(frozen=True)
class FreeRules:
    """How completions are generated."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 = greedy."""
    stop: tuple[str, ...] = ()
    """A completion ends when its text contains one of these."""
    not_first: int | None = None
    """A token that a completion may not begin with."""


@phase("rollouts")
@torch.no_grad()
def generate(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    samples: int,
    rules: FreeRules,
    seeds: Sequence[int],
    at_once: int | None = None,
    ended: Callable[[dict[int, list[int]]], None] | None = None,
) -> Rows:
    """`samples` completions of every prompt; row p * samples + i is the i-th of prompt p, `seeds` one per row.

    A prompt is read once for all its samples. Rows that end (end of text, stop string) leave the batch, and others take
    their places; `at_once` rows are alive at a time (None: as many as suit the device). `ended` is told of the rows
    that end in a pass: {row: its ids}.
    """
    prefixes = [[policy.start_id, *p] for p in prompts]
    walk, draws = Walk(policy, prefixes, samples, at_once), Uniforms(seeds, rules.max_new_tokens)
    made, stops = Completions(walk.count, rules.max_new_tokens), Stops(policy, rules.stop)
    while len(alive := walk.alive()):
        tokens = _sample(walk, made, alive, rules, draws)
        closed = stops.ended(alive, tokens)
        over = closed | (made.length[alive] == rules.max_new_tokens)
        made.closed[alive] = closed
        walk.end(alive[over])
        if ended and over.any():
            ended({r: made.ids[r, : made.length[r]].tolist() for r in alive[over].tolist()})
        if not over.all():
            walk.read(alive[~over], tokens[~over], np.ones((~over).sum(), np.int64))
    return counted(policy, made.rows(prefixes, samples))


class Completions:
    """The tokens of B completions while they grow, each [B,max_new_tokens]."""

    def __init__(self, count: int, max_new_tokens: int):
        self.length, self.closed = np.zeros(count, np.int64), np.zeros(count, bool)
        self.ids = np.zeros((count, max_new_tokens), np.int64)
        self.logp, self.logp_old = (np.zeros((count, max_new_tokens), np.float32) for _ in range(2))

    def append(self, rows: np.ndarray, **columns: Tensor) -> None:
        """One more token of each of these rows."""
        for name, values in columns.items():
            getattr(self, name)[rows, self.length[rows]] = values.cpu().numpy()
        self.length[rows] += 1

    def rows(self, prefixes: Sequence[Sequence[int]], samples: int) -> Rows:
        """Prompts and completions as rows."""
        builders = []
        for r, length in enumerate(self.length.tolist()):
            builder = RowBuilder.start(r // samples, prefixes[r // samples])
            ids, logp, old = (x[r, :length].tolist() for x in (self.ids, self.logp, self.logp_old))
            builder.choose(ids, logp, old)
            builder.closed = bool(self.closed[r])
            builders.append(builder)
        return build(builders)


def _sample(walk: Walk, made: Completions, rows: np.ndarray, rules: FreeRules, draws: Uniforms) -> np.ndarray:
    """[R] the next token of each row."""
    logits, uniform = walk.logits(rows), draws.next(rows)
    warm = rules.temperature > 0
    tempered = logits / rules.temperature if warm and rules.temperature != 1 else logits
    if rules.not_first is not None and (first := made.length[rows] == 0).any():
        tempered = tempered.clone()
        tempered[torch.from_numpy(first), rules.not_first] = -torch.inf
    tokens = choose(tempered, uniform) if warm else tempered.argmax(-1)
    logp = chosen_logp(logits, tokens)
    made.append(rows, ids=tokens, logp=logp, logp_old=logp if tempered is logits else chosen_logp(tempered, tokens))
    return tokens.cpu().numpy()


class Stops:
    """Whether rows end: by the end of the text, or by a stop string, which may lie across tokens."""

    def __init__(self, policy: Policy, stop: Sequence[str]):
        self.policy, self.stop, self.tails = policy, stop, {}
        self.keep = max(map(len, stop), default=0)

    def ended(self, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """[R] bool, rows that end with these tokens."""
        ended = tokens == self.policy.end_id
        if self.stop:
            pairs = zip(rows.tolist(), tokens.tolist(), strict=True)
            ended |= np.fromiter((self._stopped(row, token) for row, token in pairs), bool, len(rows))
        return ended

    def _stopped(self, row: int, token: int) -> bool:
        tail = self.tails.get(row, "") + self.policy.token_text(token)
        self.tails[row] = tail[-self.keep :]
        return any(stop in tail for stop in self.stop)
