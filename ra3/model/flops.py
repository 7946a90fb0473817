"""Floating-point operations that a model needs for rows of tokens, a multiplication and an addition for each weight:

    F = sum over tokens of  2 N  +  4 L H d v  +  2 D V h

N: entries of the layers' matrices, without embedding and output head; L layers of H heads of size d; v: tokens that the
token sees, itself among them; D V: width times vocabulary; h = 1 if the token reaches the head. A backward pass takes
twice as many as the forward pass before it (Kaplan et al., arXiv 2001.08361, appendix B). What padding, a prompt read
once for a whole group, and recomputation add or save is left out: these are the model's operations, not the machine's.
"""

from __future__ import annotations

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rows import Rows
from ra3.run.ledger import count

TRAINING = 3
"""Forward and backward over forward alone."""


def counted(policy: Policy, rows: Rows) -> Rows:
    """Books `rows`, which were just sampled, in the open ledger; returns them."""
    chosen = float((rows.act & ~rows.expert).sum())
    head_tokens = float((rows.act | rows.expert).sum())
    count(generated=chosen, flops=forward_flops(policy, rows.length, head_tokens))
    return rows


def forward_flops(policy: Policy, length: Tensor, head_tokens: float) -> float:
    """One pass over rows of `length` [B] tokens, `head_tokens` of which reach the head."""
    config = policy.model.config.get_text_config()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    tokens = float(length.sum())
    seen = float((length.double() * (length + 1) / 2).sum())
    head = policy.model.get_output_embeddings().weight.numel()
    return 2 * layer_weights(policy) * tokens + 4 * layers * width * seen + 2 * head * head_tokens


def layer_weights(policy: Policy) -> int:
    """Entries of all matrices but embedding and output head."""
    outside = (policy.model.get_input_embeddings(), policy.model.get_output_embeddings())
    kept = {id(module.weight) for module in outside}
    return sum(p.numel() for p in policy.model.parameters() if p.dim() > 1 and id(p) not in kept)
