"""The layers of a Llama-like decoder written out for cached passes: what its modules compute, without calling them.

    x <- x + W_o attention(rotated W_qkv norm(x)),    x <- x + W_down (act(W_gate norm(x)) * W_up norm(x))

In a pass over a few dozen tokens a small model spends most of its time between the operations: calling modules, making
heads and rotations, widening weights. Here the three projections into attention are one, and what depends on a position
alone is looked up. Llama, Qwen2 and whatever else has these parts and no others; `Policy` compares the outcome with the
model's own modules when it loads it, and uses those for all other models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear
from torch.nn.functional import embedding, linear, rms_norm

from ra3.model.attention import attend
from ra3.model.kv_cache import SlotCache, SlotLayer
from ra3.model.projections import INTO, OUT_OF, NarrowLinear, WideLinear

TRUNK = {"embed_tokens", "layers", "norm", "rotary_emb"}
LAYER = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
FIXED_ROTATIONS = {"default", "linear", "llama3", "yarn"}
"""Rotary embeddings in which a position's angles do not depend on how long the sequence is."""


def has_these_parts(model: Any) -> bool:
    """Whether the layers of `model`, float32 on a CPU, are made of the parts that are written out here."""
    trunk = model.base_model
    if model.dtype != torch.float32 or model.device.type != "cpu" or _parts(trunk) != TRUNK:
        return False
    rotation = getattr(trunk.rotary_emb, "rope_type", None)
    return rotation in FIXED_ROTATIONS and all(_is_plain(layer) for layer in trunk.layers)


def _is_plain(layer: Any) -> bool:
    if _parts(layer) != LAYER or _parts(layer.self_attn) != {*INTO, OUT_OF} or _parts(layer.mlp) != MLP:
        return False
    if len({getattr(layer.self_attn, name).bias is None for name in INTO}) > 1:
        return False
    linears = [getattr(layer.self_attn, name) for name in (*INTO, OUT_OF)]
    linears += [getattr(layer.mlp, name) for name in MLP - {"act_fn"}]
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return all(type(x) in (Linear, WideLinear, NarrowLinear) for x in linears) and all(
        hasattr(x, "variance_epsilon") for x in norms
    )


def _parts(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}


class Decoder:
    """The layers of one model with the weights that they have now, for as long as those do not change.

    `exact`: attention and the projections into it are in float64 (see ra3/model/projections.py).
    """

    def __init__(self, model: Any, exact: bool):
        trunk = model.base_model
        self.embedding, self.norm, self.rotary = trunk.embed_tokens.weight, trunk.norm, trunk.rotary_emb
        self.layers = [DecoderLayer(layer, exact) for layer in trunk.layers]
        self.angles = torch.empty(0, 2, 0)

    def __call__(self, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """[N] ids of the tokens that `cache` reads, at [N] positions -> [N,D] last hidden states."""
        if cache.end > len(self.angles):
            self.angles = self._angles(2 * cache.end)
        cos, sin = self.angles[positions].unsqueeze(2).unbind(1)
        x = embedding(ids, self.embedding)
        for layer, stored in zip(self.layers, cache.layers, strict=True):
            assert isinstance(stored, SlotLayer)
            x = layer(x, cos, sin, stored)
        return _normed(x, self.norm)

    def _angles(self, count: int) -> Tensor:
        """[count,2,head] cosines, and sines with the sign that the first half of a head rotates by."""
        cos, sin = self.rotary(self.embedding, torch.arange(count)[None])
        half = sin.shape[-1] // 2
        signed = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)
        return torch.stack([cos[0], signed], 1).to(self.layers[0].into.dtype)


class DecoderLayer:
    """One layer: attention over the cache, then the gated MLP."""

    def __init__(self, layer: Any, exact: bool):
        attention, mlp = layer.self_attn, layer.mlp
        projections = [getattr(attention, name) for name in INTO]
        dtype = torch.float64 if exact and isinstance(projections[0], WideLinear) else torch.float32
        self.into = torch.cat([p.weight for p in projections]).to(dtype)
        self.into_bias = None if projections[0].bias is None else torch.cat([p.bias for p in projections]).to(dtype)
        self.head_size, self.scale = attention.head_dim, attention.scaling
        self.queries, self.keys = (p.weight.shape[0] // self.head_size for p in projections[:2])
        self.out, self.gate, self.up, self.down = getattr(attention, OUT_OF), mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.act, self.norms = mlp.act_fn, (layer.input_layernorm, layer.post_attention_layernorm)

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, stored: SlotLayer) -> Tensor:
        """[N,D] -> [N,D]; cos and sin [N,1,head]. Writes keys and values to `stored`."""
        inside = _normed(x, self.norms[0]).to(self.into.dtype)
        heads = linear(inside, self.into, self.into_bias).unflatten(1, (-1, self.head_size))
        turning, values = heads.split([self.queries + self.keys, self.keys], 1)
        turned = torch.addcmul(turning * cos, turning.roll(self.head_size // 2, -1), sin)
        stored.write(turned[:, self.queries :], values)
        seen = attend(stored, turned[:, : self.queries], self.scale).flatten(1)
        x = x + linear(seen.to(x.dtype), self.out.weight, self.out.bias)
        inside = _normed(x, self.norms[1])
        gate, up = (linear(inside, p.weight, p.bias) for p in (self.gate, self.up))
        return x + linear(self.act(gate) * up, self.down.weight, self.down.bias)


def _normed(x: Tensor, norm: Any) -> Tensor:
    return rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)
