"""Free generation with a key-value cache: completions of prompts, each prompt read once for all its samples.

Each row draws from its own stream of random numbers, so a completion does not depend on which others share its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ra3.model.action_spaces import log_probability
from ra3.model.policy import Policy
from ra3.rollout.decoding import DecodeBatch, Uniforms, sample_ids
from ra3.rows import FULL, RowBuilder, Rows, build

MAX_SAMPLED_ROWS = 256
"""Completions that are asked for at once, where many are."""


@dataclass(frozen=True)
class SamplingParams:
    """How completions are sampled."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 = greedy."""
    stop: tuple[str, ...] = ()
    """A completion ends when its text contains one of these."""
    not_first: int | None = None
    """A token that a completion may not begin with."""


@torch.no_grad()
def generate(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    samples: int,
    params: SamplingParams,
    seeds: Sequence[int],
    at_once: int | None = None,
    on_finished: Callable[[dict[int, list[int]]], None] | None = None,
) -> Rows:
    """Samples `samples` completions of every prompt; row p * samples + i is the i-th of prompt p, `seeds` one per row.

    A prompt is read once for all its samples. Rows that end (end of text, stop string) leave the batch, and others take
    their places; `at_once` rows run at a time (None: as many as suit the device). `on_finished` is told of the rows
    that end in a pass: {row: its ids}.
    """
    prefixes = [[policy.start_id, *p] for p in prompts]
    batch, draws = DecodeBatch(policy, prefixes, samples, at_once), Uniforms(seeds, params.max_new_tokens)
    made, stops = CompletionBuffer(batch.count, params.max_new_tokens), StopCheck(policy, params.stop)
    while len(running := batch.running()):
        tokens = _sample(batch, made, running, params, draws)
        finished = stops.finished(running, tokens)
        over = finished | (made.length[running] == params.max_new_tokens)
        made.finished[running] = finished
        batch.finish(running[over])
        if on_finished and over.any():
            on_finished({r: made.ids[r, : made.length[r]].tolist() for r in running[over].tolist()})
        if not over.all():
            batch.read(running[~over], tokens[~over], np.ones((~over).sum(), np.int64))
    return made.rows(prefixes, samples)


class CompletionBuffer:
    """The tokens of B completions while they grow, each [B,max_new_tokens]."""

    def __init__(self, count: int, max_new_tokens: int):
        self.length, self.finished = np.zeros(count, np.int64), np.zeros(count, bool)
        self.ids = np.zeros((count, max_new_tokens), np.int64)
        self.logp, self.logp_old = (np.zeros((count, max_new_tokens), np.float32) for _ in range(2))

    def append(self, rows: np.ndarray, **columns: Tensor) -> None:
        """Adds one more token to each of these rows."""
        for name, values in columns.items():
            getattr(self, name)[rows, self.length[rows]] = values.cpu().numpy()
        self.length[rows] += 1

    def rows(self, prefixes: Sequence[Sequence[int]], samples: int) -> Rows:
        """Prompts and completions as rows: every token of a completion was chosen, all in step 0."""
        builders = []
        for r, length in enumerate(self.length.tolist()):
            builder = RowBuilder.start(r // samples, prefixes[r // samples])
            ids, logp, old = (x[r, :length].tolist() for x in (self.ids, self.logp, self.logp_old))
            builder.chosen = [(position, FULL, x, 1.0) for position, x in enumerate(old, len(builder.ids))]
            builder.force(ids, 0, logp, expert=False)
            builder.finished = bool(self.finished[r])
            builders.append(builder)
        return build(builders)


def _sample(
    batch: DecodeBatch, made: CompletionBuffer, rows: np.ndarray, params: SamplingParams, draws: Uniforms
) -> np.ndarray:
    """[R] the next token of each row."""
    logits, uniform = batch.logits(rows), draws.next(rows)
    warm = params.temperature > 0
    tempered = logits / params.temperature if warm and params.temperature != 1 else logits
    if params.not_first is not None and (first := made.length[rows] == 0).any():
        tempered = tempered.clone()
        tempered[torch.from_numpy(first), params.not_first] = -torch.inf
    tokens = sample_ids(tempered, uniform) if warm else tempered.argmax(-1)
    logp = log_probability(logits, tokens)
    made.append(rows, ids=tokens, logp=logp, logp_old=logp if tempered is logits else log_probability(tempered, tokens))
    return tokens.cpu().numpy()


class StopCheck:
    """Whether rows end: by the end of the text, or by a stop string, which may lie across tokens."""

    def __init__(self, policy: Policy, stop: Sequence[str]):
        self.policy, self.stop, self.tails = policy, stop, {}
        self.keep = max(map(len, stop), default=0)

    def finished(self, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """[R] bool, rows that end with these tokens."""
        finished = tokens == self.policy.end_id
        if self.stop:
            pairs = zip(rows.tolist(), tokens.tolist(), strict=True)
            finished |= np.fromiter((self._stopped(row, token) for row, token in pairs), bool, len(rows))
        return finished

    def _stopped(self, row: int, token: int) -> bool:
        tail = self.tails.get(row, "") + self.policy.token_text(token)
        self.tails[row] = tail[-self.keep :]
        return any(stop in tail for stop in self.stop)
