"""Guide (arXiv 2506.13923): where every program fails, more are written with a hint, and learned as if without.

    L = - sum_t w_t min( rho_t A_t, clip(rho_t) A_t ),   rho_t = q(y_t | x) / q_old(y_t | x, hint)

for the hinted programs, and the clipped loss as it is for the others; A is against the mean of all for the problem.
Where every problem is solved by some it is the clipped loss. Ours: the hint is the problem's reference, in front of its
prompt.
"""

from collections.abc import Mapping
from dataclasses import replace

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.off_policy import LearnHelped
from ra3.rl.solve import GradedPrograms


class Guide(LearnHelped):
    """RLVR with hints where nothing passes."""

    def prompts(self, policy: Policy, programs: GradedPrograms) -> Mapping[int, Problem]:
        """Hints for problems that no program solves."""
        return {p: hinted(programs.items[p]) for p, passed in enumerate(programs.passed) if not passed.any()}


def hinted(problem: Problem) -> Problem:
    """The problem with its reference in front of the prompt."""
    return replace(problem, prompt=f"{(problem.cue + problem.reference).strip()}\n{problem.prompt}")
