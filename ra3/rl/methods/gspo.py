"""GSPO (arXiv 2507.18071): one probability ratio for a whole program, the geometric mean of its tokens' ratios.

    L = - 1/B sum_i min( s_i A_i, clip(s_i, 1 - 3e-4, 1 + 4e-4) A_i )
    s_i = exp( 1/|y_i| sum_t log q(y_t) / q_old(y_t) )

With s_i = 1 its gradient is the policy gradient with `rlvr.aggregation = sequence_mean`. Ours: the advantage is
`rlvr.advantage`, where the paper divides by the standard deviation of the group (`group_std`).
"""

from dataclasses import replace

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.solve import SolveProblems
from ra3.rows import Rows

CLIP = (3e-4, 4e-4)


class Gspo(SolveProblems):
    """RLVR with a loss of whole programs."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, of_rows=gspo_loss)


def gspo_loss(policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
    """The equation above; `advantage` [B,T] is the same for all chosen tokens of a row, `weight` is unused."""
    chosen = rows.action_mask & rows.valid
    count = chosen.sum(1).clamp(min=1)
    ratio = (((logp - rows.logp_old) * chosen).sum(1) / count).exp()
    own = (advantage * chosen).sum(1) / count
    clipped = ratio.clamp(1 - CLIP[0], 1 + CLIP[1])
    return -(ratio * own).minimum(clipped * own).mean()
