"""The RL loop, shared by the E-step, RLVR and every other method of reinforcement.

    for each step:
        rollouts   <- task.rollout(policy, task.items(step), step)      G rows for each document or problem
        reward     <- task.reward(policy, rollouts)                     [B] or, step by step, [B,S]
        advantage  <- task.advantage(rollouts, reward)                  [B,T]
        policy     <- one step of policy gradient on the chosen tokens, guarded against NaN

A method is a `Task` that replaces what it needs. The loop logs, keeps rollouts to be read, saves and resumes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ra3.config.settings import UpdateSettings
from ra3.errors import UserError
from ra3.model.action_spaces import TokenScores
from ra3.model.policy import Policy
from ra3.model.update import (
    ForwardTokens,
    NotFinite,
    Optimizer,
    fit,
    make_optimizer,
    score,
    scoring_cost,
    training_cost,
)
from ra3.rl.losses import (
    Aggregation,
    TokenLossFn,
    clip_share,
    clipped_policy_loss,
    each_token_whole,
    policy_gradient_loss,
    token_mean,
)
from ra3.rows import CONTEXT, DECISION, FULL, Rows
from ra3.run.files import write_atomic
from ra3.run.recorder import Recorder, Stateful

SHOWN_GROUPS, SHOWN_SAMPLES = 2, 2
"""Of these many groups, so many rollouts are kept to be read."""
MOST_IMPORTANCE = 2.0
"""The most that a token weighs for having been drawn too rarely by another engine."""


RowLossFn = Callable[[Policy, Tensor, Rows, Tensor, Tensor], Tensor]
"""(policy, log q [B,T], rows, advantage [B,T], weight [B,T]) -> the loss of a step's rows."""


@dataclass(frozen=True)
class PolicyLoss:
    """A policy loss, its clip range, the temperature that the rows were sampled at, and what each token weighs."""

    loss: TokenLossFn = clipped_policy_loss
    clip_low: float = 0.2
    clip_high: float = 0.2
    temperature: float = 1.0
    aggregation: Aggregation = token_mean
    max_tokens: int = 1
    """The most tokens of a row that can be chosen, for the aggregation `constant`."""
    of_rows: RowLossFn | None = None
    """Takes the place of `loss` where a loss does not fall apart into tokens."""


@dataclass
class Rollouts:
    """What a step learns from: `group_size` rows for each item, row i * group_size + g the g-th of item i."""

    rows: Rows
    items: Sequence[Any]
    """Documents or problems; each has an `id`."""
    group_size: int

    def grouped(self, values: Tensor) -> Tensor:
        """[B,...] -> [D,G,...]."""
        return values.unflatten(0, (-1, self.group_size))


class Task:
    """A method of reinforcement: what the loop asks for, step by step. Subclasses replace what differs."""

    stage: str
    """Under which metrics are logged: "estep" or "rlvr"."""
    name: str = ""
    """The stage of the run that the loop is, for checkpoints; "": as above."""
    num_steps: int
    learning_rate: float
    update: UpdateSettings
    em_round: int = 0
    epochs: int = 1
    """Policy steps on the same rollouts."""
    loss: PolicyLoss = PolicyLoss()

    def start(self, policy: Policy) -> Policy:
        """The policy that learns; an adapter may be put over it here."""
        return policy

    def state(self) -> dict[str, Stateful]:
        """What is saved beside the policy and the optimiser, and restored."""
        return {}

    def items(self, step: int) -> Sequence[Any]:
        """The documents or problems of a step."""
        raise NotImplementedError

    def rollout(self, policy: Policy, items: Sequence[Any], step: int) -> Rollouts:
        """Rows of the policy, as many for each item."""
        raise NotImplementedError

    def reward(self, policy: Policy, rollouts: Any) -> Tensor:
        """[B] or [B,S] what each row, or each of its steps, earned; may score text under the policy."""
        raise NotImplementedError

    def advantage(self, rollouts: Any, reward: Tensor) -> Tensor:
        """[B,T] advantage of every chosen token."""
        raise NotImplementedError

    def select(self, rollouts: Any, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The rows to learn from, each with its group, and their advantages: a filter or other weights, if wanted."""
        return rollouts.rows, advantage

    def metrics(self, policy: Policy, rollouts: Any, reward: Tensor) -> dict[str, float]:
        """Numbers of this step beside those of the update."""
        return {}

    def after_step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Is told of each step's numbers."""

    def notes(self, rollouts: Any) -> Sequence[str]:
        """[B] a word on each row for rollouts.jsonl, such as the reason of a verdict; empty: none."""
        return ()


def reinforce(recorder: Recorder, policy: Policy, task: Task) -> Policy:
    """Trains `policy` in place by the task and returns it; a restart goes on where the last checkpoint stands."""
    policy = task.start(policy)
    optimizer = make_optimizer(policy.model, "adamw", task.learning_rate)
    saved = {"policy": policy.learnt, "optimizer": optimizer, **task.state()}
    for step in recorder.loop(task.name or task.stage, task.num_steps, **saved):
        rollouts = task.rollout(policy, task.items(step), step)
        reward = task.reward(policy, rollouts)
        advantage = task.advantage(rollouts, reward)
        rows, weighted = task.select(rollouts, advantage)
        weighted = weighted * sampler_weight(rows)
        place = {"stage": task.stage, "round": task.em_round, "step": step}
        names = [rollouts.items[group].id for group in rows.group.tolist()]
        with nonfinite_explained(recorder, place, policy, names):
            numbers = policy_steps(recorder, policy, optimizer, rows, weighted, task)
        numbers |= task.metrics(policy, rollouts, reward) | sampler_tails(rows)
        recorder.log(task.stage, task.em_round, step, task.num_steps, numbers)
        if recorder.wants_rollouts(step, task.num_steps):
            for record in rollout_records(policy, rollouts, advantage, reward, task.notes(rollouts)):
                recorder.rollout({**place, **record})
        task.after_step(step, numbers)
    return policy


def sampler_weight(rows: Rows) -> Tensor:
    """[B,T] min(q / b, MOST_IMPORTANCE) of freely chosen tokens that another engine has drawn by b, else 1 (truncated
    importance sampling; Ionides 2008). Decisions and words of a comment have theirs in the returns."""
    return torch.where(rows.action_space == FULL, rows.importance.clamp(max=MOST_IMPORTANCE), 1.0)


def sampler_tails(rows: Rows) -> dict[str, float]:
    """How far another engine's distribution was from the policy's; nothing where the policy drew by itself."""
    importance = rows.importance[rows.action_mask & rows.valid & (rows.action_space == FULL)]
    if bool((importance == 1).all()):
        return {}
    cut = (importance > MOST_IMPORTANCE).float().mean()
    return {"sampler_gap_max": float(importance.log().abs().max()), "importance_cut": float(cut)}


def policy_steps(
    recorder: Recorder, policy: Policy, optimizer: Optimizer, rows: Rows, advantage: Tensor, task: Task
) -> dict[str, float]:
    """Takes the task's policy steps on the same rows. The numbers are those of the first, the only one by the policy
    that sampled them, and the last one's `clip_share`."""
    chosen, numbers = rows.action_mask & rows.valid, dict[str, float]()
    for _ in range(task.epochs):
        with recorder.phase("training", **training_cost(policy, rows, chosen, has_signal(rows, advantage))):
            if task.loss.of_rows:
                recorder.count(**scoring_cost(policy, rows, chosen))
            found = policy_step(policy, optimizer, rows, advantage, task.loss, task.update)
        numbers = found | numbers | {name: value for name, value in found.items() if name == "clip_share"}
    return numbers


def policy_step(
    policy: Policy, optimizer: Optimizer, rows: Rows, advantage: Tensor, loss: PolicyLoss, update: UpdateSettings
) -> dict[str, float]:
    """Takes one policy-gradient step on the chosen tokens of `rows`, `advantage` [B,T].

    Without any signal (all advantages 0) weights and optimiser stay untouched. NotFinite, too, leaves them so.
    """
    chosen = rows.action_mask & rows.valid
    for name, values in (("log probability while sampling", rows.logp_old), ("advantage", advantage)):
        if bool((bad := (~values.isfinite() & chosen).any(1)).any()):
            raise NotFinite(f"the {name} is not finite", rows, bad.nonzero()[:, 0].tolist())
    if loss.of_rows:
        return row_step(policy, optimizer, rows, advantage, loss, update)
    live = has_signal(rows, advantage)
    if not bool(live.any()):
        return {"advantage_std": 0.0, "loss": 0.0, "grad_norm": 0.0, "tokens_trained": 0.0}
    weight = loss.aggregation(chosen, loss.max_tokens).to(policy.device, policy.score_dtype)
    old, adv = rows.logp_old.to(policy.device), advantage.to(policy.device)

    def token_loss(scores: TokenScores, tokens: ForwardTokens) -> Tensor:
        per_token = (tokens.at(old), tokens.at(adv), tokens.at(weight))
        return loss.loss(scores.logp_action, *per_token, loss.clip_low, loss.clip_high)

    scores, numbers = fit(policy, optimizer, rows, chosen, token_loss, update, loss.temperature, live)
    clipped = clip_share(scores.logp_action, rows.logp_old, chosen, loss.clip_low, loss.clip_high)
    return {
        **numbers,
        "tokens_trained": float(chosen.sum()),
        "advantage_std": float(advantage[chosen].std(correction=0)),
        "entropy": float(scores.entropy[chosen].mean()),
        "clip_share": float(clipped),
        "logp_gap_max": float((rows.logp_old - scores.logp_action)[chosen].abs().max()),
    }


def row_step(
    policy: Policy, optimizer: Optimizer, rows: Rows, advantage: Tensor, loss: PolicyLoss, update: UpdateSettings
) -> dict[str, float]:
    """A step on a loss of whole rows or groups, L(log q). Its gradient is that of sum_t g_t log q(z_t) with
    g = dL / d log q held fixed: a policy gradient with the advantage -g_t, so rows are still learned one by one."""
    assert loss.of_rows
    chosen = rows.action_mask & rows.valid
    logp = score(policy, rows, chosen, update.micro_batch_tokens, loss.temperature).logp_action.requires_grad_()
    weight = loss.aggregation(chosen, loss.max_tokens).to(logp)
    value = loss.of_rows(policy, logp, rows, advantage, weight)
    (slope,) = torch.autograd.grad(value, logp)
    plain = replace(loss, of_rows=None, loss=policy_gradient_loss, aggregation=each_token_whole)
    numbers = policy_step(policy, optimizer, rows, -slope * chosen, plain, update)
    return numbers | {"loss": value.item(), "advantage_std": float(advantage[chosen].std(correction=0))}


def has_signal(rows: Rows, advantage: Tensor) -> Tensor:
    """[B] bool, rows with a chosen token whose advantage is not 0; only these need a backward pass."""
    return ((advantage != 0) & rows.action_mask & rows.valid).any(1)


@contextmanager
def nonfinite_explained(
    recorder: Recorder, place: Mapping[str, object], policy: Policy, names: Sequence[str]
) -> Iterator[None]:
    """Turns NotFinite into a UserError that says which documents are to blame, after their rows are in bad-rows.jsonl.

    place: where the run is, as in metrics.jsonl: stage, round, step; names: the document or problem of every row.
    """
    try:
        yield
    except NotFinite as error:
        run, file = recorder.run, recorder.run.path("bad-rows.jsonl")
        blamed = list(dict.fromkeys(names[r] for r in error.bad))
        texts = [(names[r], error.rows.tokens(r)) for r in error.bad]
        lines = [{**place, "document": n, "ids": ids, "text": policy.tokenizer.decode(ids)} for n, ids in texts]
        with run.guard(f"write {file.name}"):
            write_atomic(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
        shown = ", ".join(blamed[:5]) + (f" and {len(blamed) - 5} more" if len(blamed) > 5 else "")
        where = f"{place['stage']} step {place['step']}"
        raise UserError(
            f"training stopped at {where}: {error.what}; to blame: {shown or 'no row alone'}",
            where=str(file),
            fix="mend these rows or lower the learning rate (run.dtype=float32 is safer). Then go on with:\n"
            f"  {run.resume_line}\n  with settings changed: --fork {run.folder} and another run.name",
        ) from error


def rollout_records(
    policy: Policy, rollouts: Rollouts, advantage: Tensor, reward: Tensor, notes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The first samples of the first groups for rollouts.jsonl: each token with its text, role and credit."""
    rows, total = rollouts.rows, reward if reward.dim() == 1 else reward.sum(1)
    groups, samples = min(SHOWN_GROUPS, len(rollouts.items)), min(SHOWN_SAMPLES, rollouts.group_size)
    for group, sample in product(range(groups), range(samples)):
        r = group * rollouts.group_size + sample
        credit, logp = ([round(x, 4) for x in own[r].tolist()] for own in (advantage, rows.logp))
        tokens = [
            {"text": policy.token_text(token), "role": _role(rows, r, t), "advantage": credit[t], "logp": logp[t]}
            for t, token in enumerate(rows.tokens(r))
        ]
        place = {"document": rollouts.items[group].id, "group": group, "sample": sample}
        earned = {"reward": float(total[r]), "verdict": notes[r] if notes else None}
        yield {**place, **earned, "opener": policy.syntax.opener, "tokens": tokens}


def _role(rows: Rows, r: int, t: int) -> str:
    if int(rows.step[r, t]) == CONTEXT:
        return "context"
    if bool(rows.action_mask[r, t]) and int(rows.action_space[r, t]) >= DECISION:
        return "decision"
    if bool(rows.expert[r, t]):
        return "expert"
    return "latent" if bool((rows.expert[r] & rows.valid[r]).any()) else "sampled"
