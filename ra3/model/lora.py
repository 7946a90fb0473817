"""LoRA (arXiv 2106.09685), by peft: what learns are small matrices beside those of a model that stays as it is.

    W x  ->  W x + (alpha / rank) B A x          A [rank,in] is drawn from the seed, B [out,rank] begins at 0

A model that learns shares all other weights with the one that it started from, which reads as it did: in the E-step pi
is q with its adapter switched off, and no weight is held twice.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ra3.config.settings import LoraSettings
from ra3.errors import UserError

OWN = "lora_"
"""What the names of an adapter's parameters hold."""


@dataclass(frozen=True)
class Lora:
    """An adapter before it has learnt anything."""

    settings: LoraSettings
    seed: int

    def learner(self, model: Any) -> Any:
        """A model with all weights of `model` but an adapter of its own: a copy of that of `model`, or a new one."""
        frozen = [p for name, p in model.named_parameters() if OWN not in name]
        shared = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in frozen}  # the same numbers
        twin = copy.deepcopy(model, {**shared, **{id(buffer): buffer for buffer in model.buffers()}})
        if not is_adapted(twin):
            self._add(twin)
        for name, parameter in twin.named_parameters():
            parameter.requires_grad_(OWN in name)
        return twin

    def num_parameters(self, model: Any) -> int:
        """Numbers that learn."""
        return sum(p.numel() for name, p in self.learner(model).named_parameters() if OWN in name)

    def _add(self, model: Any) -> None:
        own, where = self.settings, f"model.lora with {model.config.model_type}"
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise UserError("LoRA needs the package peft", where, fix="pip install 'ra3[lora]'") from None
        targets = own.targets[0] if own.targets == ("all-linear",) else list(own.targets)
        config = LoraConfig(r=own.rank, lora_alpha=own.alpha, target_modules=targets, task_type="CAUSAL_LM")
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(self.seed)
            try:
                inject_adapter_in_model(config, model)
            except ValueError as error:
                what = f"no adapter can be put here: {str(error).splitlines()[0]}"
                fix = "take all-linear, or names of matrices such as q_proj,v_proj"
                raise UserError(what, "model.lora.targets", fix=fix) from error


def is_adapted(model: Any) -> bool:
    """Whether the model has an adapter."""
    return any(OWN in name for name, _ in model.named_parameters())


class AdapterState:
    """What a checkpoint holds of a model with an adapter: the adapter."""

    def __init__(self, model: Any):
        self._own = {name: p for name, p in model.named_parameters() if OWN in name}

    def state_dict(self) -> dict[str, Tensor]:
        """The adapter's matrices."""
        return {name: parameter.detach() for name, parameter in self._own.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state_dict` gave. KeyError or RuntimeError where it belongs to another adapter."""
        if different := state.keys() ^ self._own.keys():
            raise KeyError(f"{len(different)} matrices of the adapter, as {min(different)}")
        for name, parameter in self._own.items():
            parameter.data.copy_(state[name])


def merged(model: Any) -> Any:
    """A model of the plain kind, with weights of its own: the adapter's matrices are added to those beside them."""
    from peft.tuners.lora import LoraLayer

    twin = copy.deepcopy(model)
    for name, module in list(twin.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()  # pyright: ignore[reportCallIssue]
            twin.set_submodule(name, module.get_base_layer())
    del twin.peft_config
    return twin


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Writes the adapter as peft does; `base` is what it calls the model that it belongs to."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = copy.copy(model.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(str(folder))
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    state = {f"base_model.model.{name}": value.contiguous() for name, value in own.items()}
    save_file(state, folder / "adapter_model.safetensors", {"format": "pt"})
