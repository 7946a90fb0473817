"""Programs for one RLVR update: `samples` for each problem, judged; problems that teach nothing may be replaced.

A group whose rewards are all equal has no advantage and so no gradient. With `rlvr.refills` its place is given to the
next problem (dynamic sampling, DAPO, arXiv 2503.14476), so that an update learns from as many groups as it is meant to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Self

import torch
from torch import Tensor

from ra3.config.tree import Config
from ra3.data.order import Order
from ra3.grading.grade import Verdict, refuse_unjudged
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.advantages import dead_groups
from ra3.rollout.generate import FreeRules
from ra3.rollout.programs import attempt
from ra3.rows import Rows, concatenate
from ra3.sandbox import Sandbox
from ra3.seeds import derive


@dataclass(frozen=True)
class Groups:
    """P problems with G judged programs each: rows and verdicts p * G ... p * G + G - 1 are those of problem p."""

    problems: list[Problem]
    rows: Rows
    verdicts: list[Verdict]

    @property
    def samples(self) -> int:
        """G"""
        return len(self.verdicts) // len(self.problems)

    @cached_property
    def counted(self) -> Tensor:
        """[P,G] bool; a program that the sandbox could not judge counts for nothing."""
        return torch.tensor([v.passed is not None for v in self.verdicts]).unflatten(0, (-1, self.samples))

    @cached_property
    def reward(self) -> Tensor:
        """[P,G] 1 for a pass, else 0."""
        return torch.tensor([float(v.passed or False) for v in self.verdicts]).unflatten(0, (-1, self.samples))

    @property
    def dead(self) -> Tensor:
        """[P] bool, groups whose rewards are all equal."""
        return dead_groups(self.reward, self.counted)

    def select(self, which: Sequence[int]) -> Self:
        """Only these groups, of which there is at least one."""
        rows = [p * self.samples + g for p in which for g in range(self.samples)]
        return replace(
            self,
            problems=[self.problems[p] for p in which],
            rows=self.rows.select(rows),
            verdicts=[self.verdicts[r] for r in rows],
        )


def joined(parts: Sequence[Groups]) -> Groups:
    """The groups of all parts, numbered anew."""
    if len(parts) == 1:
        return parts[0]
    problems = list(chain.from_iterable(part.problems for part in parts))
    rows = concatenate([part.rows for part in parts])
    number = torch.arange(len(problems), device=rows.group.device).repeat_interleave(parts[0].samples)
    return Groups(problems, replace(rows, group=number), list(chain.from_iterable(part.verdicts for part in parts)))


def groups_for_update(
    policy: Policy, order: Order, problems: Sequence[Problem], sandbox: Sandbox, config: Config, step: int
) -> tuple[Groups, Groups]:
    """(the groups to learn from, `batch_problems` of them; all that were sampled, those that made room too)."""
    learned, sampled = [], []
    wanted = config.rlvr.batch_problems
    for draw in range(config.rlvr.refills + 1):
        chosen = [problems[i] for i in order.take(wanted)]
        groups = write_programs(policy, chosen, sandbox, config, (step, draw))
        sampled.append(groups)
        dead = groups.dead.tolist()
        if draw == config.rlvr.refills or not any(dead):
            learned.append(groups)
            break
        if alive := [p for p, is_dead in enumerate(dead) if not is_dead]:
            learned.append(groups.select(alive))
        wanted = sum(dead)
    return joined(learned), joined(sampled)


def write_programs(
    policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: Config, draw: tuple[int, int]
) -> Groups:
    """`samples` completions of every problem, graded; `draw` is (step, how many times it has sampled before)."""
    settings, (step, again) = config.rlvr, draw
    rules = FreeRules(settings.max_new_tokens, settings.temperature, problems[0].stop)
    source = ("rlvr", step, again) if again else ("rlvr", step)
    samples = range(settings.samples)
    seeds = [derive(config.run.seed, *source, problem.id, sample) for problem in problems for sample in samples]
    done = attempt(policy, problems, settings.samples, rules, seeds, sandbox)
    refuse_unjudged(done.verdicts)
    return Groups(list(problems), done.rows, done.verdicts)


def reward_metrics(learned: Groups, sampled: Groups) -> dict[str, float]:
    """How the sampled programs did, and how many groups were replaced."""
    reward = sampled.reward[sampled.counted]
    passed = float(reward.mean()) if len(reward) else 0.0
    return {
        "reward": passed,
        "pass_rate": passed,
        "truncated": float((~sampled.rows.closed).float().mean()),
        "infra": float((~sampled.counted).float().mean()),
        "tokens_generated": float(sampled.rows.act.sum()),
        "dead_groups": float(sampled.dead.float().mean()),
        "refilled": float(len(sampled.problems) - len(learned.problems)),
    }
