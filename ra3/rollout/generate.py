"""Free generation with a key-value cache: completions of prompts, each prompt read once for all its samples. Each row
draws from random numbers of its own, whichever others share its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ra3.model.action_spaces import log_probability
from ra3.model.lanes import rows_by_lane
from ra3.model.policy import Policy
from ra3.rollout.decoding import DecodeBatch, Uniforms, sample_ids
from ra3.rows import FULL, RowBuilder, Rows, build
from ra3.run.ledger import Work

MAX_SAMPLED_ROWS = 256
"""Completions that are asked for at once, where many are."""


@dataclass(frozen=True)
class SamplingParams:
    """How completions are sampled."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 = greedy."""
    not_first: tuple[int, ...] = ()
    """Tokens that a completion may not begin with."""


@dataclass(frozen=True)
class Companion:
    """Another policy, which reads the same tokens and has a say in what is drawn."""

    policy: Policy
    offered: Callable[[Tensor, Tensor], Tensor]
    """(logits [R,V] of the companion, of the policy) -> those that tokens are drawn by; scores are the policy's."""


def prefixes(policy: Policy, prompts: Sequence[Sequence[int]], begun: Sequence[Sequence[int]]) -> list[list[int]]:
    """What stands before each completion. Where there is nothing to go on from it is a new text."""
    return [[*policy.start_ids, *p, *ids] or [policy.end_id] for p, ids in zip(prompts, begun, strict=True)]


@torch.no_grad()
def generate(
    policy: Policy, prompts: Sequence[Sequence[int]], samples: int, params: SamplingParams, seeds: Sequence[int],
    at_once: int | None = None, on_finished: Callable[[dict[int, list[int]]], None] | None = None,
    stops: Sequence[tuple[str, ...]] | None = None, begun: Sequence[Sequence[int]] | None = None,
    companion: Companion | None = None,
) -> Rows:  # fmt: skip
    """Samples `samples` completions of every prompt; row p * samples + i is the i-th of prompt p, `seeds` one per row.

    Rows that end (end of text, stop string) leave the batch, and others take their places; `at_once` rows run at a time
    (None: as many as suit the device). `on_finished` is told of this rank's rows that end in a pass: {row: its ids}.
    `stops`: for each prompt the strings that end a completion when its text contains one; `begun`: ids that its
    completions begin with, fewer than they may have, which are part of the row's context.
    """
    begun = begun or [()] * len(prompts)
    ends, told = stops or [()] * len(prompts), on_finished or (lambda ended: None)
    if policy.writer:
        assert not (companion or params.not_first), "what writes in our place draws from the policy alone"
        return policy.writer.write(policy, prompts, samples, params, seeds, ends, begun, told)
    if policy.lanes == 1:
        with policy.gathered():
            return _generated(policy, prompts, samples, params, seeds, ends, begun, companion, at_once, told)

    def of(lane: list[int]) -> Rows:
        rows = [p * samples + i for p in lane for i in range(samples)]
        own = [prompts[p] for p in lane], samples, params, [seeds[r] for r in rows], [ends[p] for p in lane]
        beside = [begun[p] for p in lane], companion, at_once
        return _generated(policy, *own, *beside, lambda ended: told({rows[r]: ids for r, ids in ended.items()}))

    return rows_by_lane(policy, len(prompts), of)


def _generated(
    policy: Policy, prompts: Sequence[Sequence[int]], samples: int, params: SamplingParams, seeds: Sequence[int],
    stops: Sequence[tuple[str, ...]], begun: Sequence[Sequence[int]], companion: Companion | None, at_once: int | None,
    on_finished: Callable[[dict[int, list[int]]], None],
) -> Rows:  # fmt: skip
    """The completions of one lane."""
    contexts, policies = prefixes(policy, prompts, begun), [policy, companion.policy] if companion else [policy]
    batches = [DecodeBatch(each, contexts, samples, at_once) for each in policies]
    draws = Uniforms(seeds, params.max_new_tokens)
    rows = [RowBuilder.start(r // samples, contexts[r // samples]) for r in range(batches[0].count)]
    ends = StopCheck(policy, stops, samples)
    room = [params.max_new_tokens - len(ids) for ids in begun for _ in range(samples)]
    work = Work(sum(room))
    while len(running := [batch.running() for batch in batches][0]):
        first = torch.tensor([not rows[r].chosen for r in running]) if params.not_first else None
        logits, *others = (batch.logits(running) for batch in batches)
        offered = partial(companion.offered, *others) if companion else None
        tokens, *scores = _sample(logits, draws.next(running), params, first, offered)
        over = []
        for r, token, logp, logp_old in zip(running.tolist(), tokens, *scores, strict=True):
            row = rows[r]
            row.append(token, 0, FULL, logp, logp_old)
            row.finished = ends.ended(r, token)
            over.append(row.finished or len(row.chosen) == room[r])
        ended = np.array(over)
        for batch in batches:
            batch.finish(running[ended])
        not_needed = sum(room[r] - len(rows[r].chosen) for r in running[ended].tolist())
        work.advance(len(running) + not_needed)
        if ended.any():
            on_finished({r: rows[r].ids[-len(rows[r].chosen) :] for r in running[ended].tolist()})
        if not ended.all():
            for batch in batches:
                batch.read(running[~ended], np.array(tokens)[~ended], np.ones((~ended).sum(), np.int64))
    return build(rows)


def _sample(
    logits: Tensor, uniform: Tensor, params: SamplingParams, first: Tensor | None,
    offered: Callable[[Tensor], Tensor] | None,
) -> list[list]:  # fmt: skip
    """[R] the next token of each row, log-probability, and that at the temperature; `first` [R]: it begins the row;
    `offered`: what is drawn by, where that is not the policy's own distribution."""
    warm = params.temperature > 0
    tempered = logits / params.temperature if warm and params.temperature != 1 else logits
    if first is not None and first.any():
        tempered = tempered.clone()
        tempered[first.nonzero(), torch.tensor(params.not_first)] = -torch.inf
    drawn = offered(tempered) if offered else tempered
    tokens = sample_ids(drawn, uniform) if warm else drawn.argmax(-1)
    logp = log_probability(logits, tokens)
    logp_old = logp if tempered is logits else log_probability(tempered, tokens)
    return [x.tolist() for x in (tokens, logp, logp_old)]


class StopCheck:
    """Whether rows end: by the end of the text, or by a stop string, which may lie across tokens."""

    def __init__(self, policy: Policy, stops: Sequence[tuple[str, ...]], samples: int):
        self.policy, self.stops, self.samples, self.tails = policy, stops, samples, {}
        self.keep = max((len(stop) for own in stops for stop in own), default=0)

    def ended(self, row: int, token: int) -> bool:
        """Whether the row ends with this token."""
        stop = self.stops[row // self.samples]
        if token in self.policy.end_ids or not stop:
            return token in self.policy.end_ids
        tail = self.tails.get(row, "") + self.policy.token_text(token)
        self.tails[row] = tail[-self.keep :]
        return any(text in tail for text in stop)
