"""MDPO (mirror descent policy optimization, arXiv 2005.09814): several steps on a penalty in the place of a clip range.

    L = - sum_t w_t ( rho_t A_t - 1/t_k ( rho_t log rho_t - rho_t + 1 ) ),   rho_t = q(y_t) / q_old(y_t)

The bracket has the expectation KL(q || q_old) over tokens of q_old, and is never negative. It needs `rlvr.epochs` above
1: where rho_t = 1 it and its gradient are 0. Ours: t_k = 1 throughout, where the paper lets it fall.
"""

from dataclasses import replace

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.solve import SolveProblems
from ra3.rows import Rows

STEP = 1.0


class Mdpo(SolveProblems):
    """RLVR with a penalty on leaving the policy that sampled."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, of_rows=mdpo_loss)


def mdpo_loss(policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
    """The equation above."""
    log_ratio = logp - rows.logp_old
    ratio = log_ratio.exp()
    return -(weight * (ratio * advantage - (ratio * log_ratio - ratio + 1) / STEP)).sum()
