"""RLVR: reinforcement learning with unit tests as reward. The E-step's loop, with other rollouts and another reward.

for each update:
    problems -> n programs each -> reward = 1 if all tests pass -> advantage in the group -> policy-gradient update

`rlvr.method` names what takes the place of some of this (`ra3/rl/methods`). With `rlvr.reward = likelihood` the reward
is the probability of a reference answer (`ra3/rl/reference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.config.settings import RlvrSettings, UpdateSettings
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.loop import reinforce
from ra3.rl.methods import METHODS
from ra3.rl.reference import AnswerQuestions
from ra3.rl.solve import SolveProblems
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox


def rlvr(
    recorder: Recorder, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, settings: RlvrSettings,
    update: UpdateSettings, seed: int,
) -> Policy:  # fmt: skip
    """Trains `policy` in place on the problems and returns it."""
    kind = task_class(settings.method, settings.reward)
    return reinforce(recorder, policy, kind(recorder, problems, sandbox, settings, update, seed))


def task_class(method: str, reward: str) -> type[SolveProblems]:
    """The task that a method is, with its reward from tests or from the likelihood of a reference."""
    kind = METHODS[method]
    if reward == "tests" or issubclass(kind, AnswerQuestions):
        return kind
    bases: tuple[type, ...] = (AnswerQuestions,) if kind is SolveProblems else (kind, AnswerQuestions)
    return type(kind.__name__, bases, {})
