"""Free generation with a key-value cache: completions of prompts, each prompt read once for all its samples.

Each row draws from its own stream of random numbers, so a completion does not depend on which others share its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ra3.flops import counted
from ra3.ledger import phase
from ra3.policy import Policy
from ra3.rows import FULL, RowBuilder, Rows, build, concatenate
from ra3.walk import Uniforms, Walk, choose, chosen_logp

MAX_SAMPLED_ROWS = 256
"""Rows that are decoded at once."""


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
    policy: Policy, prompts: Sequence[Sequence[int]], samples: int, rules: FreeRules, seeds: Sequence[int]
) -> Rows:
    """`samples` completions of every prompt; row p * samples + i is the i-th of prompt p, `seeds` one per row.

    A prompt is read once for all its samples. Rows that end (end of text, stop string) leave the batch.
    """
    per_batch = max(1, MAX_SAMPLED_ROWS // samples)
    parts = []
    for first in range(0, len(prompts), per_batch):
        chunk = prompts[first : first + per_batch]
        own = seeds[first * samples : (first + len(chunk)) * samples]
        parts.append(_generate_batch(policy, chunk, samples, rules, own, first))
    return counted(policy, concatenate(parts))


def _generate_batch(
    policy: Policy, prompts: Sequence[Sequence[int]], samples: int, rules: FreeRules, seeds: Sequence[int], first: int
) -> Rows:
    prefixes = [[policy.start_id, *p] for p in prompts]
    walk = Walk(policy, prefixes, samples)
    builders = [RowBuilder.start(first + i, p) for i, p in enumerate(prefixes) for _ in range(samples)]
    draws, tails = Uniforms(seeds, rules.max_new_tokens), [""] * len(builders)
    live = list(range(len(builders)))
    for n in range(rules.max_new_tokens):
        tokens = _sample_live(walk, builders, live, rules, draws, rules.not_first if n == 0 else None)
        going = [i for i, r in enumerate(live) if not _ended(policy, rules, tails, r, tokens[i])]
        if not going:
            return build(builders)
        if n + 1 == rules.max_new_tokens:
            break
        if len(going) < len(live):
            live = [live[i] for i in going]
            walk.take(going)
        walk.read(range(len(live)), [(tokens[i],) for i in going])
    for r in (live[i] for i in going):
        builders[r].closed = False
    return build(builders)


def _sample_live(
    walk: Walk, builders: list[RowBuilder], live: list[int], rules: FreeRules, draws: Uniforms, forbidden: int | None
) -> list[int]:
    logits = walk.logits(range(len(live)))
    tempered = logits / rules.temperature if rules.temperature > 0 else logits.clone()
    if forbidden is not None:
        tempered[:, forbidden] = -torch.inf
    uniform = draws.next(live)
    tokens = choose(tempered, uniform) if rules.temperature > 0 else tempered.argmax(-1)
    full, own = chosen_logp(logits, tokens).tolist(), chosen_logp(tempered, tokens).tolist()
    for r, token, logp, old in zip(live, tokens.tolist(), full, own, strict=True):
        builders[r].append(token, 0, FULL, logp, old)
    return tokens.tolist()


def _ended(policy: Policy, rules: FreeRules, tails: list[str], row: int, token: int) -> bool:
    """Whether `row` ends with `token`; keeps just enough text to see a stop string across tokens."""
    if token == policy.end_id:
        return True
    tails[row] += policy.token_text(token)
    if any(stop in tails[row] for stop in rules.stop):
        return True
    tails[row] = tails[row][-max((len(s) for s in rules.stop), default=1) :]
    return False
