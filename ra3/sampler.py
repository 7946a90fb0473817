"""Sampling with a key-value cache: free generation, and interleaved rollouts (sampled latents, forced expert steps).

A rollout reads every token of its document once: the cache holds what was read, each step enters as one chunk, only
latents are decoded token by token, and the decision to think costs nothing - it is read from the pass over the line
before. Each row draws from its own stream of random numbers, so a rollout does not depend on which others share its
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.actions import decision_logps, mask_logits
from ra3.latents import EncodedDocument
from ra3.policy import Policy
from ra3.rows import COMMENT, DECISION, FULL, RowBuilder, Rows, build, concatenate
from ra3.walk import Uniforms, Walk, choose

MAX_SAMPLED_ROWS = 256
"""Rows that are decoded at once."""


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
class FreeRules:
    """How completions are generated."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 = greedy."""
    stop: tuple[str, ...] = ()
    """A completion ends when its text contains one of these."""


@torch.no_grad()
def interleave(
    policy: Policy, documents: Sequence[EncodedDocument], group_size: int, rules: LatentRules, seeds: Sequence[int]
) -> Rows:
    """`group_size` rollouts of every document; row d * group_size + g is the g-th of document d, `seeds` one per row.

    At each boundary where the document allows it the policy decides between think and act; if it thinks, it writes a
    comment until the line ends or `max_latent_tokens`; then the expert's step is forced in.
    """
    walk = Walk(policy, [[policy.start_id, *d.context_ids] for d in documents], group_size)
    builders = [
        RowBuilder.start(i, [policy.start_id, *d.context_ids])
        for i, d in enumerate(documents)
        for _ in range(group_size)
    ]
    steps = [forced_steps(d, policy.end_id) for d in documents for _ in range(group_size)]
    may_think = [d.may_think for d in documents for _ in range(group_size)]
    draws = Uniforms(seeds, max(len(s) for s in steps) * (rules.max_latent_tokens + 1))
    for t in range(max(len(s) for s in steps)):
        rows = [r for r, own in enumerate(steps) if t < len(own)]
        deciding = [r for r in rows if rules.think and may_think[r][t]]
        acted, thinking = _decide(walk, builders, deciding, t, rules, draws)
        pending = _comment(walk, builders, thinking, t, rules, draws)
        _force(walk, builders, {r: steps[r][t] for r in rows}, pending, t)
        for r, (logp, importance) in acted.items():
            builders[r].mark_decision(len(builders[r].ids) - len(steps[r][t]), logp, importance)
    return build(builders)


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


def _decide(
    walk: Walk, builders: list[RowBuilder], deciding: list[int], t: int, rules: LatentRules, draws: Uniforms
) -> tuple[dict[int, tuple[float, float]], list[int]]:
    """Think or act at boundary t; returns {row: (log q(act), importance)} of those that act, and those that think."""
    if not deciding:
        return {}, []
    rows = torch.tensor(deciding, device=walk.position.device)
    log_think, log_act = decision_logps(walk.logits(rows), walk.policy.syntax.think_id)
    behaviour = log_think.exp().clamp(min=rules.think_floor)
    thinks = (draws.next(rows) < behaviour).tolist()
    logp = torch.stack([log_act, log_think], 1)
    importance = logp.exp() / torch.stack([1 - behaviour, behaviour], 1)
    importance = torch.where((log_think.exp() < rules.think_floor)[:, None], importance, 1.0)
    acted = {}
    for r, think, logps, weights in zip(deciding, thinks, logp.tolist(), importance.tolist(), strict=True):
        if think:
            builders[r].append(walk.policy.syntax.think_id, t, DECISION, logps[1], logps[1], weights[1])
        else:
            acted[r] = logps[0], weights[0]
    return acted, [r for r in deciding if r not in acted]


def _comment(
    walk: Walk, builders: list[RowBuilder], thinking: list[int], t: int, rules: LatentRules, draws: Uniforms
) -> dict[int, int]:
    """Writes the comments of boundary t; returns the closing newline of each row, which is not read yet."""
    syntax, mask = walk.policy.syntax, walk.policy.spaces.comment_mask
    fed, open_rows = [syntax.think_id] * len(thinking), list(thinking)
    for _ in range(rules.max_latent_tokens):
        if not open_rows:
            break
        rows = torch.tensor(open_rows, device=walk.position.device)
        walk.advance(rows, fed)
        logits = walk.logits(rows)
        allowed = mask_logits(logits, mask)
        tokens = choose(allowed, draws.next(rows))
        full, own = _logp(logits, tokens).tolist(), _logp(allowed, tokens).tolist()
        for r, token, logp, old in zip(open_rows, tokens.tolist(), full, own, strict=True):
            builders[r].append(token, t, COMMENT, logp, old)
        still = [(r, v) for r, v in zip(open_rows, tokens.tolist(), strict=True) if v != syntax.newline_id]
        open_rows, fed = [r for r, _ in still], [v for _, v in still]
    if open_rows:
        walk.advance(torch.tensor(open_rows, device=walk.position.device), fed)
    for r in open_rows:
        builders[r].force([syntax.newline_id], t, [0.0], expert=False)
        builders[r].closed = False
    return dict.fromkeys(thinking, syntax.newline_id)


def _force(
    walk: Walk, builders: list[RowBuilder], steps: dict[int, tuple[int, ...]], pending: dict[int, int], t: int
) -> None:
    """Reads the expert's step into every row, after the newline that closes its comment, and scores its tokens."""
    policy, rows = walk.policy, torch.tensor(list(steps), device=walk.position.device)
    chunks = [([pending[r]] if r in pending else []) + list(step) for r, step in steps.items()]
    before = walk.last_hidden[rows]
    hidden, length = walk.read(rows, chunks)
    history = torch.cat([before[:, None], hidden], 1)
    walk.last_hidden[rows] = history[torch.arange(len(rows), device=rows.device), length]
    first = torch.tensor([int(r in pending) for r in steps], device=rows.device)
    column = torch.arange(history.shape[1], device=rows.device)
    at = (column >= first[:, None]) & (column < length[:, None])
    targets = torch.tensor([token for step in steps.values() for token in step], device=rows.device)
    unchosen = torch.zeros_like(targets)
    logp = policy.scores(history[at], targets, unchosen, unchosen.bool()).logp.tolist()
    start = 0
    for r, step in steps.items():
        builders[r].force(step, t, logp[start : start + len(step)])
        start += len(step)


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
    return concatenate(parts)


def _generate_batch(
    policy: Policy, prompts: Sequence[Sequence[int]], samples: int, rules: FreeRules, seeds: Sequence[int], first: int
) -> Rows:
    prefixes = [[policy.start_id, *p] for p in prompts]
    walk = Walk(policy, prefixes, samples)
    builders = [RowBuilder.start(first + i, p) for i, p in enumerate(prefixes) for _ in range(samples)]
    draws, tails = Uniforms(seeds, rules.max_new_tokens), [""] * len(builders)
    live = list(range(len(builders)))
    for n in range(rules.max_new_tokens):
        tokens = _sample_live(walk, builders, live, rules, draws)
        going = [i for i, r in enumerate(live) if not _ended(policy, rules, tails, r, tokens[i])]
        if not going:
            return build(builders)
        if n + 1 == rules.max_new_tokens:
            break
        if len(going) < len(live):
            live = [live[i] for i in going]
            walk.take(torch.tensor(going, device=walk.position.device))
        walk.advance(walk.all_rows, [tokens[i] for i in going])
    for r in (live[i] for i in going):
        builders[r].closed = False
    return build(builders)


def _sample_live(
    walk: Walk, builders: list[RowBuilder], live: list[int], rules: FreeRules, draws: Uniforms
) -> list[int]:
    logits = walk.logits(walk.all_rows)
    tempered = logits / rules.temperature if rules.temperature > 0 else logits
    uniform = draws.next(torch.tensor(live, device=logits.device))
    tokens = choose(tempered, uniform) if rules.temperature > 0 else logits.argmax(-1)
    full, own = _logp(logits, tokens).tolist(), _logp(tempered, tokens).tolist()
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


def _logp(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
