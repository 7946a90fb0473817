"""Sharding: each rank holds a share of weights, gradients and optimiser state (FSDP2, torch's `fully_shard`).

A layer's weights are gathered for its pass and let go after it; while rows are sampled, all of them are. Gradients are
scattered over the ranks as they are added up, in the tree of `ra3/model/lanes.py`, so weights are bit for bit those of
ranks that each hold everything. Each rank saves its shares: a run may go on with another number of ranks, or unsharded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import MethodType
from typing import Any, Self

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
from transformers.modeling_layers import GradientCheckpointingLayer

from ra3 import ranks
from ra3.model.lanes import local, share_of
from ra3.model.policy import Policy


@dataclass
class ShardedPolicy(Policy):
    """A policy whose weights are spread over the ranks; all of them must make its passes together."""

    skeleton: Any = None
    """The model before it was sharded, without its weights: copies are made of it."""

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Shards the model of `policy`, which is of no use any more."""
        model, own = policy.model, {f.name: getattr(policy, f.name) for f in fields(policy)}
        empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
        skeleton = copy.deepcopy(model, empty)
        spread(model, policy.device.type)
        return cls(**own, skeleton=skeleton)

    @property
    def trunk(self) -> Any:
        """What makes hidden states of ids: embedding and head are gathered with it, a layer's weights for the layer."""
        return self.model.trunk

    @property
    def is_sharded(self) -> bool:
        """Whether ranks hold shares."""
        return True

    @property
    def learnt(self) -> Any:
        """What checkpoints hold: the model, in shares."""
        return SpreadState(self.model)

    def snapshot(self) -> Self:
        """A copy with weights of its own, spread alike."""
        twin, model = copy.copy(self), copy.deepcopy(self.skeleton)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        spread(model, self.device.type)
        model.to_empty(device=self.device)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        for own, other in zip(model.parameters(), self.model.parameters(), strict=True):
            local(own.data).copy_(local(other.data))
        twin.model = model
        return twin

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, every rank has all weights, and makes what passes it likes without the others."""
        modules = [self.model, *layers(self.model)]
        for module in modules:
            module.set_reshard_after_forward(False)
            module.unshard()
        try:
            with super().gathered():
                yield
        finally:
            for module in modules:
                module.set_reshard_after_forward(module is not self.model)
                module.reshard()

    def end_passes(self) -> None:
        """Lets go of what the last passes gathered."""
        for module in (self.model, *layers(self.model)):
            module.reshard()

    def idle_pass(self) -> None:
        """A pass that reads nothing, beside those of other ranks."""
        one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        hidden = self.hidden(one, one)
        if hidden.requires_grad:
            hidden.backward(torch.zeros_like(hidden))


class SpreadState:
    """The state of a sharded model, by the names that it has whole."""

    takes_shares = True

    def __init__(self, model: Any):
        self._model = model

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name, spread over the ranks; one that has several names, as a tied head, is one tensor."""
        own = self._model.state_dict(keep_vars=True)
        each = {id(tensor): tensor.detach() for tensor in own.values()}
        return {name: each[id(tensor)] for name, tensor in own.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes this rank's shares of tensors that are spread alike, whole or saved."""
        own = self._model.state_dict()
        if own.keys() != state.keys():
            raise KeyError(f"other weights: {', '.join(sorted(own.keys() ^ state.keys())[:3])}")
        for name, tensor in own.items():
            local(tensor).copy_(local(share_of(state[name], tensor)))


class TreeReduceScatter(ReduceScatter):
    """Adds the ranks' gradients in one binary tree, each rank its share: (g0 + g1) + (g2 + g3)."""

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for what is sent."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False
    ) -> None:
        """Adds up `input_tensor` [W * N] of all ranks; this rank's N numbers go to `output_tensor`."""
        pieces = torch.empty_like(input_tensor)
        distributed.all_to_all_single(pieces, input_tensor, group=group)
        output_tensor.copy_(ranks.tree_sum(list(pieces.chunk(group.size()))))


def layers(model: Any) -> list[Any]:
    """The layers of a model, each of which is gathered by itself."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def spread(model: Any, device: str) -> None:
    """Spreads a model over the ranks, in place."""

    def trunk(self: Any, *inputs: Any, **named: Any) -> Any:
        return self.base_model(*inputs, **named)

    mesh, found = init_device_mesh(device, (ranks.count(),)), layers(model)
    for layer in found:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)  # the head follows, with the same weights
    model.trunk = MethodType(trunk, model)
    register_fsdp_forward_method(model, "trunk")
    for module in (model, *found):
        module.set_gradient_divide_factor(1.0)  # losses are divided by what the whole step has
        module.set_force_sum_reduction_for_comms(True)
        module.set_reduce_scatter_unused_params(True)  # a rank that had no use for a weight adds 0
        module.set_custom_reduce_scatter(TreeReduceScatter())
