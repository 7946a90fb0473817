"""RLVR: reinforcement learning with unit tests as reward. The E-step's loop, with other rollouts and another reward.

for each update:
    problems -> n programs each -> reward = 1 if all tests pass -> advantage in the group -> policy-gradient update

`rlvr.method` names what takes the place of some of this (`ra3/rl/methods`). With `rlvr.reward = likelihood` the reward
is the probability of a reference answer (`ra3/rl/reference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.config.settings import RlvrSettings, UpdateSettings
from ra3.errors import UserError
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.loop import reinforce
from ra3.rl.methods import METHODS
from ra3.rl.reference import AnswerQuestions
from ra3.rl.solve import SolveProblems
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox

SEAMS = "items", "rollout", "attempt"
"""What a method may replace, and then chooses itself what is asked for."""


def rlvr(
    recorder: Recorder, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, settings: RlvrSettings,
    update: UpdateSettings, seed: int,
) -> Policy:  # fmt: skip
    """Trains `policy` in place on the problems and returns it."""
    kind = task_class(settings.method, settings.reward)
    if policy.writer and policy.writer.ahead:
        refuse_unforeseen(kind, settings, problems)
    return reinforce(recorder, policy, kind(recorder, problems, sandbox, settings, update, seed))


def refuse_unforeseen(kind: type[SolveProblems], settings: RlvrSettings, problems: Sequence[Problem]) -> None:
    """UserError where what a step asks of the policy's writer is not known before that step."""
    own, likely = any(getattr(kind, n) is not getattr(SolveProblems, n) for n in SEAMS), settings.reward == "likelihood"
    if own or any(problem.tools for problem in problems):
        who = "rlvr.reward = likelihood" if likely else f"rlvr.method = {settings.method}" if own else "tools"
        what = f"{who}: what is asked for follows from what was written before, so that nothing can be begun ahead"
        raise UserError(what, "run.rollouts = vllm-ahead", fix="set run.rollouts = vllm")


def task_class(method: str, reward: str) -> type[SolveProblems]:
    """The task that a method is, with its reward from tests or from the likelihood of a reference."""
    kind = METHODS[method]
    if reward == "tests" or issubclass(kind, AnswerQuestions):
        return kind
    bases: tuple[type, ...] = (AnswerQuestions,) if kind is SolveProblems else (kind, AnswerQuestions)
    return type(kind.__name__, bases, {})
