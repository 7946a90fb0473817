"""Optimisers: Muon for the weight matrices and AdamW for the rest, or AdamW alone; a schedule as a pure function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ra3.model.lanes import share_of, whole


class Optimizer:
    """One or two torch optimisers that step together under one learning-rate factor."""

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts
        self.peaks = [[group["lr"] for group in part.param_groups] for part in parts]

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Applies the gradients."""
        for part in self.parts:
            part.step()

    def scale(self, factor: float) -> None:
        """Sets every learning rate to `factor` times its peak."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def state_dict(self) -> list[dict[str, Any]]:
        """State of all parts, whole where ranks hold shares."""
        return whole([part.state_dict() for part in self.parts])

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restores what `state_dict` returned."""
        for part, state in zip(self.parts, states, strict=True):
            learn = [p for group in part.param_groups for p in group["params"]]
            own = {i: {name: share_of(x, learn[i]) for name, x in kept.items()} for i, kept in state["state"].items()}
            part.load_state_dict(state | {"state": own})


MUON_LR_RATIO = 6.0
"""Muon's learning rate over AdamW's: its updates have unit spectral norm, AdamW's have unit entries."""


def make_optimizer(model: nn.Module, kind: str, learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """kind "adamw": AdamW for all. kind "muon": Muon (Jordan 2024; torch.optim.Muon) for the matrices inside the
    blocks, AdamW for embeddings, head, norms and biases."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if kind == "adamw":
        return Optimizer([_adamw(parameters, learning_rate, weight_decay)])
    inside = {id(p) for p in layer_matrices(model) if p.dim() == 2}
    matrices, rest = ([p for p in parameters if (id(p) in inside) == wanted] for wanted in (True, False))
    muon = torch.optim.Muon(matrices, lr=learning_rate * MUON_LR_RATIO, weight_decay=weight_decay, momentum=0.95)
    return Optimizer([muon, *([_adamw(rest, learning_rate, weight_decay)] if rest else [])])  # of an adapter nothing


def layer_matrices(model: Any) -> list[nn.Parameter]:
    """The matrices of a language model's layers: all but embedding and output head."""
    outside = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    return [p for p in model.parameters() if p.dim() > 1 and id(p) not in outside]


def warmup_cosine(progress: float, warmup: float, floor: float = 0.1) -> float:
    """Factor on the peak rate at `progress` in [0, 1]: linear to 1 over `warmup`, then a half cosine to `floor`."""
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / max(1 - warmup, 1e-9)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


def _adamw(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    fused = {p.device.type for p in parameters} <= {"cpu", "cuda"}
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=weight_decay, fused=fused)
