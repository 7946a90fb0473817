"""SSRL (arXiv 2508.10874): the policy is its own search engine, and does not learn from what it told itself.

    R = 1 for a pass in good form, 1 - f for another, f for a failure in good form, 0 for another,   f = 0.2

Information that the policy writes between its tags is left out of the loss, as what a search found would be. Good form:
every search has its information right behind it, and there is one at least. With f = 0 the reward is the verdict.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rollout.programs import completions
from ra3.rows import Rows

FORM = 0.2
INFORMATION = re.compile(r"<information>.*?(?:</information>|$)", re.DOTALL)
TAG = re.compile(r"</?(?:search|information)>")
GOOD = ["<search>", "</search>", "<information>", "</information>"]


class Ssrl(SolveProblems):
    """RLVR on searches of the policy's own memory."""

    def attempt(self, policy: Policy, items: Sequence[Problem], *place: object, **how: Any) -> GradedPrograms:
        """Episodes without a search but the policy's own; other tools are at hand."""
        self.policy = policy
        own = [replace(p, tools=tuple(tool for tool in p.tools if tool != "search"), documents=()) for p in items]
        return super().attempt(policy, own, *place, **how)

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] the equation above."""
        good = [in_form(said.program) for said in completions(policy, rollouts.rows, ())]
        return rollouts.passed.flatten() * (1 - 2 * FORM) + FORM * (rollouts.passed.flatten() + torch.tensor(good))

    def select(self, rollouts: GradedPrograms, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The rows without the information among what is learned."""
        mask = rollouts.rows.action_mask.clone()
        for r, chosen in enumerate(mask.clone()):
            texts = [self.policy.token_text(token) for token in rollouts.rows.ids[r, chosen].tolist()]
            spans = [found.span() for found in INFORMATION.finditer("".join(texts))]
            ends = list(accumulate(map(len, texts)))
            told = [
                any(a < end and end - len(text) < b for a, b in spans) for text, end in zip(texts, ends, strict=True)
            ]
            mask[r, chosen] = ~torch.tensor(told)
        return replace(rollouts.rows, action_mask=mask), advantage * mask


def in_form(text: str) -> bool:
    """Whether every search has information behind it, and there is one."""
    return (tags := TAG.findall(text)) == GOOD * max(1, len(tags) // 4)
