"""AIPO (LlamaRL, arXiv 2505.24034): importance weights cut above alone, at rho, against programs of an older policy.

    gradient of L = - sum_t w_t min( q(y_t) / q_old(y_t), rho ) A_t ∇ log q(y_t)

Nothing is cut below, and no token loses its gradient. Ours: rho = 4, of the 2 to 10 that the paper tried; programs get
old only within an update, by `rlvr.epochs`; A is `rlvr.advantage`.
"""

from dataclasses import replace

from ra3.rl.losses import cispo_loss
from ra3.rl.solve import SolveProblems

RHO = 4.0


class Aipo(SolveProblems):
    """RLVR with importance weights of at most RHO."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, loss=cispo_loss, clip_high=RHO - 1)
