"""Episodes of several turns: what a policy samples, and between its turns what an environment gave it to read.

    row       <s> prompt  turn 0  observation  turn 1  observation  turn 2
    step      -1    -1      0         -1         1         -1         2
    chosen                  *                    *                    *

An observation is context: nothing is learned from it and it was not sampled, but it counts among the tokens that an
episode may have. Its text is tokenised by itself, and the name of a special token in it is no such token. It begins
with a line break and ends without one, like a prompt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ra3 import ranks
from ra3.data.tokens import token_ids
from ra3.environments.tools import Environment, call_ends
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rollout.generate import SamplingParams, generate
from ra3.rows import Rows, grafted, with_others
from ra3.seeds import derive


def play(
    policy: Policy, problems: Sequence[Problem], prompts: Sequence[Sequence[int]], samples: int,
    params: SamplingParams, seeds: Sequence[int], environment: Environment,
    read: Callable[[Sequence[int], Sequence[int]], str], on_finished: Callable[[dict[int, list[int]]], None],
) -> Rows:  # fmt: skip
    """Samples `samples` episodes of every problem, row p * samples + i the i-th of problem p, `seeds` one per row.

    `read` makes text of ids behind others. `on_finished` is told of the last turns of this rank's episodes that are
    over: {row: its ids}. An episode that ends with a call, for want of turns or room, is not `finished`.
    """
    environment.reset([problem for problem in problems for _ in range(samples)])
    ends = [(*problem.stop, *call_ends(problem)) for problem in problems]
    rows, live = generate(policy, prompts, samples, params, seeds, stops=ends), range(len(seeds))
    for turn in range(1, sys.maxsize):
        said = {r: rows.last_turn(r) for r in live if r % ranks.count() == ranks.rank()}
        texts = {r: read(rows.tokens(r)[: -len(ids)], ids) for r, ids in said.items()}
        came = {r: text for part in ranks.from_all(environment.step(texts)) for r, text in part.items()}
        told = dict(zip(came, observation_ids(policy, [text or "" for text in came.values()]), strict=True))
        size = rows.length - rows.action_mask.int().argmax(1)
        live = sorted(r for r in came if told[r] and size[r] + len(told[r]) < params.max_new_tokens)
        rows.finished[[r for r in came if r not in live]] = False
        on_finished({r: ids for r, ids in said.items() if r not in live})
        if not live:
            break
        behind, own = [told[r] for r in live], [derive(seeds[r], turn) for r in live]
        longer = go_on(policy, rows.select(live), behind, params, own, [ends[r // samples] for r in live], turn)
        rows = with_others(rows, live, longer)
    return rows


def go_on(
    policy: Policy, rows: Rows, added: Sequence[Sequence[int]], params: SamplingParams, seeds: Sequence[int],
    stops: Sequence[tuple[str, ...]], turn: int,
) -> Rows:  # fmt: skip
    """Samples one more turn of each row behind what is added to it, until it has `max_new_tokens` behind its prompt."""
    first, whole = rows.action_mask.int().argmax(1).tolist(), [rows.tokens(r) for r in range(len(rows))]
    prompts = [ids[len(policy.start_ids) : t] for ids, t in zip(whole, first, strict=True)]
    begun = [[*ids[t:], *more] for ids, t, more in zip(whole, first, added, strict=True)]
    new = generate(policy, prompts, 1, params, seeds, stops=stops, begun=begun)
    return grafted(rows, replace(new, step=torch.where(new.action_mask, turn, new.step), group=rows.group))


def observation_ids(policy: Policy, texts: Sequence[str]) -> list[list[int]]:
    """The ids of what an environment gave."""
    return token_ids(policy.tokenizer, texts, split_special_tokens=True)
