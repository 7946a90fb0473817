"""ArCHer (arXiv 2402.19446): critics judge whole utterances, and all tokens of one share what they find.

    Q(s, a) <- r + V(s'),   V(s) <- min of two Q(s, a),   A_t = min of two Q(s, a) - V(s) for t in utterance a behind s

r is the verdict, at the last turn. Where Q is the verdict and V its mean it is REINFORCE with that baseline. Ours: the
critics are linear in the policy's own hidden states, fitted anew in every step to the last 2,048 turns by ridge
regression, round by round in the place of slow targets; each Q to one half; actions are those of the replay.
"""

from typing import Any

import torch
from torch import Tensor

from ra3.model.lanes import add_up
from ra3.model.policy import Policy
from ra3.model.update import forward_trunk, scoring_cost
from ra3.rl.solve import Memory, SolveProblems
from ra3.rows import Rows

KEPT, ROUNDS, RIDGE = 2048, 8, 1.0


class Archer(SolveProblems):
    """RLVR with a critic of turns."""

    def __post_init__(self):
        super().__post_init__()
        self.replay = Memory()

    def start(self, policy: Policy) -> Policy:
        """The policy whose hidden states are read."""
        self.policy = policy
        return policy

    def advantage(self, rollouts: Any, reward: Tensor) -> Tensor:
        """[B,T] the equation above."""
        rows, chosen = rollouts.rows, rollouts.rows.action_mask & rollouts.rows.valid
        first, last = chosen & ~chosen.roll(1, 1), chosen & ~chosen.roll(-1, 1)
        row = first.nonzero()[:, 0]
        ends = torch.cat([row[1:] != row[:-1], torch.ones(1, dtype=torch.bool)])
        turns = {"state": self.hidden(rows, first), "act": self.hidden(rows, last), "ends": ends}
        turns["after"], turns["reward"] = turns["state"].roll(-1, 0), reward[row] * ends
        self.replay.update({k: torch.cat([self.replay.get(k, v[:0]), v])[-KEPT:] for k, v in turns.items()})
        value, *twins = critics(**self.replay)
        gain = torch.stack([turns["act"] @ twin for twin in twins]).amin(0) - turns["state"] @ value
        number = first.flatten().cumsum(0).view_as(first) - 1
        return torch.where(chosen, gain[number.clamp(min=0)], 0.0)

    def hidden(self, rows: Rows, wanted: Tensor) -> Tensor:
        """[N,D+1] the hidden state before each token of `wanted` [B,T], in order, and a 1."""
        number = wanted.flatten().cumsum(0).view_as(wanted) - 1
        found = torch.zeros(int(wanted.sum()), self.policy.model.get_input_embeddings().weight.shape[1])
        with self.recorder.phase("scoring", **scoring_cost(self.policy, rows, wanted)), torch.no_grad():
            for tokens in forward_trunk(self.policy, rows, wanted, self.update.micro_batch_tokens):
                found[number[tokens.row.cpu(), tokens.column.cpu()]] = tokens.hidden.float().cpu()
        return torch.cat([add_up(found, self.policy.lanes), torch.ones(len(found), 1)], 1)


def critics(state: Tensor, act: Tensor, after: Tensor, reward: Tensor, ends: Tensor) -> list[Tensor]:
    """[D] V and two Q, linear in states [N,D] before turns, before their last tokens, and before the next turns."""
    value, halves = torch.zeros(state.shape[1]), (slice(None, None, 2), slice(1, None, 2))
    twins = [value, value]
    for _ in range(ROUNDS):
        wanted = reward + (after @ value) * ~ends
        twins = [ridge(act[half], wanted[half]) for half in halves]
        value = ridge(state, torch.stack([act @ twin for twin in twins]).amin(0))
    return [value, *twins]


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """[D] the weights w that minimise |x w - y|^2 + RIDGE |w|^2."""
    return torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]), x.T @ y)
