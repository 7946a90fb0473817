"""Activation checkpointing: layers keep only what comes into them, and compute the rest again in the backward pass.

A model of L layers then keeps N D numbers for each of them and the inside of one, for a forward pass more. The numbers
are the same: a layer does the same work twice (Chen et al., arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from ra3.errors import UserError
from ra3.model.projections import EXACT, exactly


@contextmanager
def recomputing(model: Any, wanted: bool) -> Iterator[None]:
    """Passes inside recompute, if `wanted`. UserError where the model's layers cannot."""
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)] if wanted else []
    if wanted and not layers:
        raise UserError(
            "the layers of this architecture cannot be computed again",
            where=f"update.checkpoint_activations with {model.config.model_type}",
            fix="set update.checkpoint_activations to false, and lower update.micro_batch_tokens to save memory",
        )
    _switch(layers, True)
    try:
        yield
    finally:
        _switch(layers, False)


def _switch(layers: list[GradientCheckpointingLayer], on: bool) -> None:
    """The library recomputes layers in training mode; what is inside them stays as it was, dropout off."""
    for layer in layers:
        layer.gradient_checkpointing = layer.training = on
        layer._gradient_checkpointing_func = partial(  # pyright: ignore[reportArgumentType]
            checkpoint, use_reentrant=False, preserve_rng_state=False, context_fn=_as_now
        )


def _as_now() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the forward pass and of its repetition: the second is exact if the first was."""
    return nullcontext(), exactly(EXACT.get())
