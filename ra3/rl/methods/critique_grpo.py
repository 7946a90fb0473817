"""Critique-GRPO (arXiv 2506.03106): a wrong program is criticised and refined, and the refinement learned without that.

    L = - sum_t w_t min( rho_t A_t, clip(rho_t) A_t )  for programs
        - sum_t w_t A_t p_t / (p_t + 0.1)              for refinements,   p_t = q(y_t | x)

without program and critique in x, so that tokens with p_t near 0.1 move most; A is against the mean of all for the
problem. Where nothing is wrong it is the clipped loss. Ours: the first wrong program for each problem is refined once;
the critique is its verdict, as a comment.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.off_policy import LearnHelped
from ra3.rl.solve import GradedPrograms
from ra3.rollout.programs import completions
from ra3.rows import Rows

GAMMA = 0.1


class CritiqueGrpo(LearnHelped):
    """RLVR that also learns what it wrote after a critique."""

    helped_samples = 1

    def prompts(self, policy: Policy, programs: GradedPrograms) -> Mapping[int, Problem]:
        """Critiques of a wrong program for each problem that has one."""
        found = {}
        for p, wrong in enumerate((programs.passed == 0) & programs.counted):
            if wrong.any():
                r, problem = p * programs.group_size + int(wrong.int().argmax()), programs.items[p]
                (tried,) = completions(policy, programs.rows.select([r]), problem.stop)
                found[p] = criticised(problem, tried.reply, programs.verdicts[r].reason)
        return found

    def off_policy_loss(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The equation above."""
        refined = self.helped[:, None]
        usual = super().off_policy_loss(policy, logp, rows, advantage, weight * ~refined)
        return usual - (weight * refined * advantage * shaped(logp)).sum()


def shaped(logp: Tensor) -> Tensor:
    """p / (p + GAMMA), whose slope in log p is greatest where p = GAMMA."""
    return logp.exp() / (logp.exp() + GAMMA)


def criticised(problem: Problem, reply: str, reason: str) -> Problem:
    """The problem behind a wrong reply to it and what is wrong with that."""
    return replace(problem, prompt=f"{problem.prompt}{reply.rstrip()}\n# {reason}\n{problem.prompt}")
