"""Subnetworks (arXiv 2505.11711): only the weights learn that reinforcement learning changed before.

    m = 1[ |theta_RL - theta_0| is among the greatest 20% ],   theta <- m theta + (1 - m) theta_0  after every step

The first half of the steps finds theta_RL; then the weights are theta_0 again, and what remains is trained on the same
problems under the mask. The paper finds 5 to 30% of the weights changed, and that these alone do as well. Ours: the
20%, since in float32 no weight stays quite as it was, and one run for both halves; the optimiser keeps its moments.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ra3.model.policy import Policy
from ra3.rl.solve import Memory, SolveProblems

SHARE = 0.2


class Subnetwork(SolveProblems):
    """RLVR of the few weights that it changes most."""

    def start(self, policy: Policy) -> Policy:
        """Keeps the weights as they come."""
        self.learning = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
        self.first = {name: p.detach().clone() for name, p in self.learning.items()}
        self.mask = Memory()
        return policy

    def after_step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Half-way finds the mask and begins again; later takes back what lies outside it."""
        if step + 1 == self.num_steps // 2:
            self.mask.update(most_moved(self.learning, self.first, SHARE))
            self.order.taken = 0
            self.take_back(dict.fromkeys(self.first, torch.tensor(False)))
        elif self.mask:
            self.take_back(self.mask)

    def take_back(self, kept: Mapping[str, Tensor]) -> None:
        """Gives the weights that are not `kept` their first values."""
        for name, parameter in self.learning.items():
            parameter.data = torch.where(kept[name].to(parameter.device), parameter.data, self.first[name])


def most_moved(now: Mapping[str, nn.Parameter], first: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """{name: bool} the share of all weights that differ most from what they were; of equal ones some."""
    moved = torch.cat([(parameter.detach() - first[name]).abs().flatten().cpu() for name, parameter in now.items()])
    kept = torch.zeros(len(moved), dtype=torch.bool).index_fill(0, moved.topk(int(share * len(moved))).indices, True)
    parts = kept.split([parameter.numel() for parameter in now.values()])
    return {name: part.reshape(now[name].shape) for name, part in zip(now, parts, strict=True)}
