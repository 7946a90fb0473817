"""GRPO-RoC (arXiv 2508.20722): half of the episodes are learned from, failures as they come, passes by their calls.

    penalty = failed calls / calls + (answers - 1) / turns,   1/2 in the place of the first where nothing is called
    n passes of G episodes: the round(n/2) with the least penalty are kept, and the first G/2 - round(n/2) failures

but two of each kind, where there are so many. Resample on correct, of rStar2-Agent. Ours: an answer is the problem's
cue; the advantage is `rlvr.advantage` among the kept.
"""

from typing import Any

import torch
from torch import Tensor

from ra3.data.tokens import decode
from ra3.environments.tools import ERROR
from ra3.model.policy import Policy
from ra3.rl.methods.pods import Pods
from ra3.rollout.programs import completions

LEAST = 2


class GrpoRoc(Pods):
    """RLVR on passes whose calls went well."""

    def start(self, policy: Policy) -> Policy:
        """The policy whose tokens are read."""
        self.policy = policy
        return policy

    def choose(self, rollouts: Any, rewards: Tensor, size: int) -> Tensor:
        """[P,G] bool, the equation above."""
        rows, found = rollouts.rows, []
        for r, said in enumerate(completions(self.policy, rows, ())):
            failed = decode(self.policy.tokenizer, rows.ids[r, rows.observed[r]].tolist()).count(ERROR)
            answers = said.program.count(rollouts.items[r // rollouts.group_size].cue)
            found.append(penalty(failed, int(rows.step[r].max()), answers))
        return resampled(rewards > 0, rollouts.counted, rollouts.grouped(torch.tensor(found)), size)


def penalty(failed: int, calls: int, answers: int) -> float:
    """What an episode loses by its calls, of which some failed, and by giving more answers than one, or none."""
    return (failed / calls if calls else 0.5) + (min(1.0, (answers - 1) / (calls + 1)) if answers else 1.0)


def resampled(passed: Tensor, counted: Tensor, penalties: Tensor, size: int) -> Tensor:
    """[P,G] bool, of each group `size` that count, or all where there are no more."""
    kept = torch.zeros_like(counted)
    for p, (own, good, counts) in enumerate(zip(penalties.tolist(), passed.tolist(), counted.tolist(), strict=True)):
        passes = sorted((g for g, count in enumerate(counts) if count and good[g]), key=lambda g: own[g])
        failures = [g for g, count in enumerate(counts) if count and not good[g]]
        least = min(LEAST, size // 2)
        wanted = round(len(passes) * size / max(1, len(passes) + len(failures)))
        wanted = max(wanted, min(least, len(passes)), size - len(failures))
        wanted = min(wanted, max(size - least, size - len(failures)))
        kept[p, [*passes[:wanted], *failures[: size - wanted]]] = True
    return kept
