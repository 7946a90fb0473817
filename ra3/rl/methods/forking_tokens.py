"""Forking tokens (arXiv 2506.01939): of all tokens only the fifth with the highest entropy is learned from.

    L = - sum_t w_t 1[ H_t >= tau ] min( rho_t A_t, clip(rho_t) A_t ),   H_t = - sum_v q_old(v | s_t) log q_old(v | s_t)

tau is the entropy that 20% of the step's tokens reach; all tokens count in w_t. With all of them it is the default.
"""

from torch import Tensor

from ra3.model.policy import Policy
from ra3.model.update import score, scoring_cost
from ra3.rl.loop import Rollouts
from ra3.rl.solve import SolveProblems
from ra3.rows import Rows

SHARE = 0.2


class ForkingTokens(SolveProblems):
    """RLVR on the tokens at which the policy hesitates."""

    def start(self, policy: Policy) -> Policy:
        """The policy whose entropy is asked for."""
        self.policy = policy
        return policy

    def select(self, rollouts: Rollouts, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, the advantage of all but the uncertain tokens 0."""
        rows = rollouts.rows
        return rows, advantage * largest(entropies(self, self.policy, rows), rows.action_mask, SHARE)


def entropies(task: SolveProblems, policy: Policy, rows: Rows) -> Tensor:
    """[B,T] entropy of the sampling distribution at every chosen token, nats; 0 elsewhere."""
    chosen = rows.action_mask & rows.valid
    with task.recorder.phase("scoring", **scoring_cost(policy, rows, chosen)):
        return score(policy, rows, chosen, task.update.micro_batch_tokens, task.loss.temperature).entropy


def largest(values: Tensor, chosen: Tensor, share: float) -> Tensor:
    """[B,T] bool, the share of the `chosen` tokens with the largest values, at least one; equal ones all or none."""
    among = values[chosen]
    count = max(1, round(share * len(among)))
    return chosen & (values >= among.topk(count).values[-1]) if len(among) else chosen
