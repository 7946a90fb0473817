"""Solving problems as a task of the RL loop: programs for them, the sandbox's verdicts, one reward for each program.

A group whose rewards are all equal has no advantage and so no gradient. With `rlvr.refills` its place is given to the
next problem (dynamic sampling, DAPO, arXiv 2503.14476).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor

from ra3.config.settings import EvalSettings, RlvrSettings, UpdateSettings
from ra3.environments.tools import Environment, Runner
from ra3.grading.grade import Grader, Verdict, refuse_unjudged
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost
from ra3.rl.advantages import ESTIMATORS, dead_groups, unequal_group_mean
from ra3.rl.loop import PolicyLoss, Rollouts, Task
from ra3.rl.losses import AGGREGATIONS, POLICY_LOSSES
from ra3.rollout.generate import Companion, SamplingParams
from ra3.rollout.programs import Programs, encode_prompts, write_programs
from ra3.rows import Rows, concatenate
from ra3.run.ledger import Ledger
from ra3.run.recorder import Recorder, Stateful
from ra3.sandbox import Sandbox
from ra3.seeds import Order, derive


def attempted(
    recorder: Recorder | Ledger, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox,
    settings: RlvrSettings | EvalSettings, seed: int, *place: object, put: Sequence[Problem] | None = None,
    begun: Sequence[Sequence[int]] | None = None, companion: Companion | None = None,
    environment: Callable[[Runner], Environment] = Environment,
) -> Programs:  # fmt: skip
    """Samples programs for each problem, by seeds from `place`, and has them graded. SandboxError if none could be. A
    problem may stand there several times, each with its own prompt (`put`) or beginning (`begun`)."""
    params, seeds = drawing(problems, settings, seed, *place)
    with Grader(sandbox) as grader:
        with recorder.phase("rollouts"):
            how = grader, put, begun, companion, environment
            written = write_programs(policy, problems, settings.samples, params, seeds, *how)
            recorder.count(**sampling_cost(policy, written.rows))
        with recorder.phase("grading"):
            refuse_unjudged(written.verdicts)
    return written


def drawing(
    problems: Sequence[Problem], settings: RlvrSettings | EvalSettings, seed: int, *place: object
) -> tuple[SamplingParams, list[int]]:
    """How programs are sampled, and the seed of each."""
    numbers = defaultdict[str, Iterator[int]](count)
    seeds = [derive(seed, *place, p.id, next(numbers[p.id])) for p in problems for _ in range(settings.samples)]
    return SamplingParams(settings.max_new_tokens, settings.temperature), seeds


class Memory(dict[str, Any]):
    """Values of a method that a checkpoint holds, as an attribute of it: {"spread": 0.2}."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.clear()
        self.update(state)


@dataclass
class GradedPrograms(Rollouts):
    """Programs for problems, with their verdicts."""

    verdicts: list[Verdict]
    """[B]"""
    sampled: GradedPrograms | None = None
    """All that were sampled, where some made room for others."""

    @cached_property
    def counted(self) -> Tensor:
        """[P,G] bool; a program that the sandbox could not judge counts for nothing."""
        return self.grouped(torch.tensor([v.passed is not None for v in self.verdicts]))

    @cached_property
    def passed(self) -> Tensor:
        """[P,G] 1 for a pass, else 0."""
        return self.grouped(torch.tensor([float(v.passed or False) for v in self.verdicts]))

    @cached_property
    def dead(self) -> Tensor:
        """[P] bool, groups whose rewards are all equal."""
        return dead_groups(self.passed, self.counted)

    def select(self, which: Sequence[int]) -> GradedPrograms:
        """Only these groups, numbered anew."""
        index = [p * self.group_size + g for p in which for g in range(self.group_size)]
        items, verdicts = [self.items[p] for p in which], [self.verdicts[r] for r in index]
        kept = GradedPrograms(self.rows.select(index), items, self.group_size, verdicts)
        return kept.renumbered(range(len(which)))

    def renumbered(self, groups: Sequence[int]) -> GradedPrograms:
        """The same programs, the p-th group of them with the number `groups[p]`."""
        number = torch.tensor(groups).repeat_interleave(self.group_size)
        return replace(self, rows=replace(self.rows, group=number))

    def deepened(self, more: Sequence[GradedPrograms]) -> Deepened:
        """These with more programs for some of the problems."""
        return Deepened(self.rows, self.items, self.group_size, self.verdicts, self.sampled, more)

    @staticmethod
    def join(parts: Sequence[GradedPrograms]) -> GradedPrograms:
        """The groups of all parts."""
        rows, items = concatenate([part.rows for part in parts]), [item for part in parts for item in part.items]
        verdicts = [verdict for part in parts for verdict in part.verdicts]
        return GradedPrograms(rows, items, parts[0].group_size, verdicts).select(range(len(items)))


@dataclass
class Deepened(GradedPrograms):
    """Programs for problems, and more for some of them, whose rows have the numbers of the same groups."""

    more: Sequence[GradedPrograms] = ()


def against_all(programs: Deepened) -> tuple[Rows, Tensor]:
    """All rows, and [B,T] each program's verdict against those of all for its problem."""
    every = [programs, *programs.more]
    passed, counted = (torch.cat([getattr(own, name).flatten() for own in every]) for name in ("passed", "counted"))
    rows = concatenate([part.rows for part in every])
    return rows, unequal_group_mean(passed, counted, rows.group)[:, None] * rows.action_mask


@dataclass
class SolveProblems(Task):
    """RLVR as a task of the RL loop."""

    recorder: Recorder
    problems: Sequence[Problem]
    sandbox: Sandbox
    settings: RlvrSettings
    update: UpdateSettings
    seed: int
    stage = "rlvr"
    companion: Companion | None = field(default=None, init=False)
    """Who has a say in what is drawn."""
    environment: Callable[[Runner], Environment] = field(default=Environment, init=False)
    """What tools give."""

    def __post_init__(self):
        own = self.settings
        self.num_steps, self.learning_rate, self.epochs = own.steps, own.learning_rate, own.epochs
        self.order = Order(len(self.problems), derive(self.seed, "rlvr"))
        loss, weights = POLICY_LOSSES[own.loss], AGGREGATIONS[own.aggregation]
        self.loss = PolicyLoss(loss, *own.clip, own.temperature, weights, own.max_new_tokens)

    def state(self) -> dict[str, Stateful]:
        """How many problems were taken, which with refills does not follow from the step; and every `Memory`."""
        return {"order": self.order, **{name: own for name, own in vars(self).items() if isinstance(own, Memory)}}

    def items(self, step: int) -> list[Problem]:
        """The next problems, where the last step left off."""
        return [self.problems[i] for i in self.order.take(self.settings.batch_problems)]

    def attempt(
        self, policy: Policy, items: Sequence[Problem], *place: object, samples: int = 0, **how: Any
    ) -> GradedPrograms:
        """Programs for the problems, `samples` each or as many as the settings say; `how` is that of `attempted`."""
        own = self.settings.model_copy(update={"samples": samples}) if samples else self.settings
        place, how = ("rlvr", *place), {"companion": self.companion, "environment": self.environment, **how}
        written = attempted(self.recorder, policy, items, self.sandbox, own, self.seed, *place, **how)
        return GradedPrograms(written.rows, items, own.samples, written.verdicts)

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> GradedPrograms:
        """Programs for the problems, judged; with refills, dead groups make room for other problems' programs."""
        draws, kept = [], []
        for draw in range(self.settings.refills + 1):
            groups = self.attempt(policy, items, *((step, draw) if draw else (step,)))
            dead = groups.dead if draw < self.settings.refills else torch.zeros_like(groups.dead)
            draws.append(groups)
            kept.append(~dead)
            if not dead.any():
                break
            items = [self.problems[i] for i in self.order.take(int(dead.sum()))]
        self.begin(policy, step + 1)
        sampled = GradedPrograms.join(draws)
        return replace(sampled.select(torch.cat(kept).nonzero()[:, 0].tolist()), sampled=sampled)

    def begin(self, policy: Policy, step: int) -> None:
        """Has the programs of a step begun by the policy as it is, where its writer works ahead."""
        if policy.writer and policy.writer.ahead and step < self.num_steps:
            problems = [self.problems[i] for i in replace(self.order).take(self.settings.batch_problems)]
            params, seeds = drawing(problems, self.settings, self.seed, "rlvr", step)
            with self.recorder.phase("rollouts"):
                own = encode_prompts(policy, problems), self.settings.samples, params, seeds
                policy.writer.begin(policy, *own, [problem.stop for problem in problems])

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] 1 for a program that passes all tests."""
        return rollouts.passed.flatten()

    def advantage(self, rollouts: Any, reward: Tensor) -> Tensor:
        """[B,T] each program's reward against the others'."""
        estimate = ESTIMATORS[self.settings.advantage]
        return estimate(rollouts.grouped(reward), rollouts.counted).flatten()[:, None] * rollouts.rows.action_mask

    def metrics(self, policy: Policy, rollouts: GradedPrograms, reward: Tensor) -> dict[str, float]:
        """How the sampled programs did, and how many groups were replaced."""
        sampled = rollouts.sampled or rollouts
        passed, refilled = float(sampled.passed.mean()), len(sampled.items) - len(rollouts.items)
        ahead = policy.writer and policy.writer.ahead
        return {
            **({"updates_behind": float(policy.writer.updates_behind)} if ahead else {}),
            "reward": passed if refilled else float(reward.mean()),
            "pass_rate": passed,
            "truncated": float((~sampled.rows.finished).float().mean()),
            "infra": float((~sampled.counted).float().mean()),
            "tokens_generated": float(sampled.rows.action_mask.sum()),
            "dead_groups": float(sampled.dead.float().mean()),
            "refilled": float(refilled),
        }

    def notes(self, rollouts: GradedPrograms) -> list[str]:
        """[B] the reason of each verdict."""
        return [verdict.reason for verdict in rollouts.verdicts]
