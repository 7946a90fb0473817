"""RLVR: reinforcement learning with unit tests as reward. The E-step's RL step, with other rollouts and another reward.

for each update:
    problems -> n programs each -> reward = 1 if all tests pass -> advantage in the group -> policy-gradient update
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.config.tree import Config
from ra3.data.order import Order
from ra3.grading.problems import Problem
from ra3.model.nonfinite import bad_rows_kept
from ra3.model.optimizers import make_optimizer
from ra3.model.policy import Policy
from ra3.program_groups import groups_for_update, reward_metrics
from ra3.rl.advantages import ESTIMATORS
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.rollout_records import rollout_records
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox
from ra3.seeds import derive


def rlvr(recorder: Recorder, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: Config) -> Policy:
    """Trains `policy` in place on the problems and returns it."""
    settings, order = config.rlvr, Order(len(problems), derive(config.run.seed, "rlvr"))
    optimizer = make_optimizer(policy.model, "adamw", settings.learning_rate)
    loss = PolicyLoss(
        settings.loss,
        settings.clip_low,
        settings.clip_high,
        settings.temperature,
        settings.aggregation,
        settings.max_new_tokens,
    )
    for step in recorder.loop("rlvr", settings.steps, policy=policy.model, optimizer=optimizer, order=order):
        groups, sampled = groups_for_update(policy, order, problems, sandbox, config, step)
        rows = groups.rows
        advantage = ESTIMATORS[settings.advantage](groups.reward, groups.counted).flatten()[:, None] * rows.act
        names = [problem.id for problem in groups.problems for _ in range(settings.samples)]
        with bad_rows_kept(recorder.run, {"stage": "rlvr", "round": 0, "step": step}, policy, names):
            numbers = policy_step(policy, optimizer, rows, advantage, loss, config.update)
        recorder.log("rlvr", 0, step, settings.steps, numbers | reward_metrics(groups, sampled))
        if recorder.wants_rollouts(step, settings.steps):
            reasons, reward = [v.reason for v in groups.verdicts], groups.reward.flatten()
            for record in rollout_records(policy, rows, advantage, reward, groups.problems, reasons):
                recorder.rollout({"stage": "rlvr", "round": 0, "step": step, **record})
    return policy
