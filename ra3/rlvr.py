"""RLVR: reinforcement learning with unit tests as reward. The E-step's RL step, with other rollouts and another reward.

for each update:
    problems -> n programs each -> reward = 1 if all tests pass -> advantage in the group -> policy-gradient update
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ra3.advantages import ESTIMATORS, dead_groups
from ra3.attempts import Attempts, attempt
from ra3.config import Config
from ra3.credit_view import rollout_records
from ra3.faults import refuse_unjudged
from ra3.not_finite import bad_rows_kept
from ra3.optimizers import make_optimizer
from ra3.order import batch_of
from ra3.policy import Policy
from ra3.problems import Problem
from ra3.recorder import Recorder
from ra3.rl_step import PolicyLoss, policy_step
from ra3.rows import Rows
from ra3.sampler import FreeRules
from ra3.sandbox import Sandbox
from ra3.sandbox.grade import Verdict
from ra3.seeds import derive


def rlvr(recorder: Recorder, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: Config) -> Policy:
    """Trains `policy` in place on the problems and returns it."""
    settings, seed = config.rlvr, derive(config.run.seed, "rlvr")
    optimizer = make_optimizer(policy.model, "adamw", settings.learning_rate)
    loss = PolicyLoss(
        settings.loss,
        settings.clip_low,
        settings.clip_high,
        settings.temperature,
        settings.aggregation,
        settings.max_new_tokens,
    )
    for step in recorder.loop("rlvr", settings.steps, policy=policy.model, optimizer=optimizer):
        chosen = [problems[i] for i in batch_of(len(problems), settings.batch_problems, step, seed)]
        written = write_programs(policy, chosen, sandbox, config, step)
        rows, verdicts = written.rows, written.verdicts
        reward, counted = test_rewards(verdicts)
        refuse_unjudged(verdicts)
        grouped, judged = (x.unflatten(0, (-1, settings.samples)) for x in (reward, counted))
        advantage = ESTIMATORS[settings.advantage](grouped, judged).flatten()[:, None] * rows.act
        names = [problem.id for problem in chosen for _ in range(settings.samples)]
        with bad_rows_kept(recorder.run, {"stage": "rlvr", "round": 0, "step": step}, policy, names):
            numbers = policy_step(policy, optimizer, rows, advantage, loss, config.update)
        numbers |= reward_metrics(rows, verdicts, reward, counted)
        numbers["dead_groups"] = float(dead_groups(grouped, judged).float().mean())
        recorder.log("rlvr", 0, step, settings.steps, numbers)
        if recorder.wants_rollouts(step, settings.steps):
            for record in rollout_records(policy, rows, advantage, reward, chosen, [v.reason for v in verdicts]):
                recorder.rollout({"stage": "rlvr", "round": 0, "step": step, **record})
    return policy


def write_programs(
    policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: Config, step: int
) -> Attempts:
    """`samples` completions of every problem, graded."""
    settings = config.rlvr
    rules = FreeRules(settings.max_new_tokens, settings.temperature, problems[0].stop)
    seeds = [
        derive(config.run.seed, "rlvr", step, problem.id, sample)
        for problem in problems
        for sample in range(settings.samples)
    ]
    return attempt(policy, problems, settings.samples, rules, seeds, sandbox)


def test_rewards(verdicts: Sequence[Verdict]) -> tuple[Tensor, Tensor]:
    """(reward [B] 1 for a pass, counted [B]); a program that the sandbox could not judge counts for nothing."""
    reward = torch.tensor([float(v.passed or False) for v in verdicts])
    return reward, torch.tensor([v.passed is not None for v in verdicts])


def reward_metrics(rows: Rows, verdicts: Sequence[Verdict], reward: Tensor, counted: Tensor) -> dict[str, float]:
    """How the programs did."""
    return {
        "reward": float(reward[counted].mean()) if counted.any() else 0.0,
        "pass_rate": float(reward[counted].mean()) if counted.any() else 0.0,
        "truncated": float((~rows.closed).float().mean()),
        "infra": float((~counted).float().mean()),
        "tokens_generated": float(rows.act.sum()),
    }
