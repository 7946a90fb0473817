"""Whether our passes over a model are its own: asked once, when it is loaded, before anything depends on it.

An architecture is taken if scoring (rows together) and sampling (chunks over a cache) give the logits that the model
itself gives of each row alone, over more tokens than any threshold in its config where it is small enough to try.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from ra3.errors import UserError, is_out_of_memory
from ra3.model.attention import ATTENTION
from ra3.model.kv_cache import ForwardBatch, SlotCache
from ra3.model.load import quiet

if TYPE_CHECKING:
    from ra3.model.policy import Policy

WORK = 1.5e10
"""Parameters times tokens of one row: a second or two of a processor."""
FEWEST_TOKENS, BEYOND = 8, 6
"""Tokens of the longer row at least, and beyond a threshold."""
TOLERANCE = 5e-3
"""How far a logit may be from the model's own, in standard deviations of its logits."""
ATTENTION_KINDS = {"full_attention", "sliding_attention"}
BY_LENGTH = ("dynamic", "longrope")
"""RoPE whose factors the library takes by the longest position of a pass."""


def check_config(model: Any, tokenizer: Any, where: str) -> None:
    """UserError for a model with layers that do not attend, or that does not belong to the tokenizer."""
    config = model.config.get_text_config()
    if others := sorted({str(kind) for kind in getattr(config, "layer_types", None) or ()} - ATTENTION_KINDS):
        raise UserError(
            f"{model.config.model_type} is not supported: it has layers of the kind {', '.join(others)}",
            where=f"{where}/config.json: layer_types",
            allowed=" or ".join(sorted(ATTENTION_KINDS)), fix="use another model",
        )  # fmt: skip
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} tokens, the model only {config.vocab_size}",
            where=where, fix="use the tokenizer that belongs to this model",
        )  # fmt: skip
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-text token", where=where, fix="set eos_token in its config")


def window(config: Any) -> int | None:
    """How many tokens back layers of this model look at most; None where all see all."""
    kinds = getattr(config, "layer_types", None)
    return getattr(config, "sliding_window", None) if kinds is None or "sliding_attention" in kinds else None


def positions(config: Any) -> int | None:
    """The longest sequence that the model was made for; None where its config does not say.

    With RoPE by the length of a pass it is the length up to which one set of factors holds: beyond it a row's
    probabilities would depend on the rows beside it, and a token's on those after it.
    """
    longest, rope = getattr(config, "max_position_embeddings", None), getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in BY_LENGTH:
        return rope.get("original_max_position_embeddings") or longest
    return longest


def hold_rope(model: Any) -> None:
    """Keeps RoPE's factors those of short rows, whatever shares a pass with them."""
    for module in model.modules():
        if getattr(module, "rope_type", None) in BY_LENGTH:
            module.rope_type = "default"


def check_passes(policy: Policy) -> None:
    """Puts our attention into the model. UserError, with the reason, unless `hidden` and `logits` of two rows together
    are then the model's own of each, in the format of the weights: others round differently in different batches."""
    model, longest = policy.model, row_length(policy)
    ids = torch.arange(3, 3 + longest, device=policy.device) * 7919 % policy.vocabulary
    rows = [ids, ids.flip(0)[: max(3, longest // 2)]]
    own = torch.cat([_attempt(policy, "read", lambda row=row: model(input_ids=row[None]).logits[0]) for row in rows])
    _check_windows(policy, rows[1])
    with quiet():
        model.set_attn_implementation(ATTENTION)
    places = [f"token {place} of {len(row)}" for row in rows for place in range(len(row))]
    for name, read in (("scored", _together), ("sampled", _by_chunks)):
        found = _attempt(policy, name, lambda read=read: policy.logits(read(policy, rows)))
        gap = ((found - own).abs().amax(-1) / own.std()).nan_to_num(torch.inf)
        if bool((gap > TOLERANCE).any()):
            first = places[int((gap > TOLERANCE).nonzero()[0])]
            raise _refusal(policy, f"{name}, its logits are not those of its own forward pass, from {first} on")


def _check_windows(policy: Policy, row: Tensor) -> None:
    """UserError unless layers come to attention through the library's interface, with the window that they have."""
    model, wanted, told = policy.model, window(policy.model.config.get_text_config()), []

    def noting(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any):
        told.append(kwargs)
        return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None

    AttentionInterface.register("ra3-noting", noting)
    with quiet():
        model.set_attn_implementation("ra3-noting")
    _attempt(policy, "read", lambda: model(input_ids=row[None]).logits)
    if not told:
        raise _refusal(policy, "its layers do not attend through transformers' attention interface")
    if wanted not in {None, *(kwargs.get("sliding_window") for kwargs in told)}:
        raise _refusal(policy, f"its layers do not say that they look back over {wanted} tokens only")


def row_length(policy: Policy) -> int:
    """Tokens of the longer row: more than the model's window, if that many can be read in a second or two."""
    config = policy.model.config.get_text_config()
    wanted = max(FEWEST_TOKENS, (window(config) or 0) + BEYOND)
    return min(wanted, max(FEWEST_TOKENS, int(WORK / policy.num_parameters)), policy.positions or wanted)


def _together(policy: Policy, rows: list[Tensor]) -> Tensor:
    """[N,D] of the rows one after the other, as they are scored and trained on."""
    positions = [torch.arange(len(row), device=policy.device) for row in rows]
    return policy.hidden(torch.cat(rows)[None], torch.cat(positions)[None])[0]


def _by_chunks(policy: Policy, rows: list[Tensor]) -> Tensor:
    """[N,D] of the rows one after the other, as they are sampled: most of each, then a token, then the rest."""
    cache = SlotCache(len(rows), policy.model.config.get_text_config().num_hidden_layers, policy.device)
    read: list[list[Tensor]] = [[] for _ in rows]
    stops = [[0, len(row) - 2, len(row) - 1, len(row)] for row in rows]
    for part in range(3):
        starts, ends = [stop[part] for stop in stops], [stop[part + 1] for stop in stops]
        lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        cache.begin_pass(batch := ForwardBatch(range(len(rows)), starts, lengths, policy.device))
        ids = torch.cat([row[start:end] for row, start, end in zip(rows, starts, ends, strict=True)])
        hidden = policy.hidden(ids[None], batch.positions[None], cache)[0]
        for own, chunk in zip(read, hidden.split(lengths), strict=True):
            own.append(chunk)
    return torch.cat([torch.cat(own) for own in read])


def _attempt(policy: Policy, what: str, work: Callable[[], Tensor]) -> Tensor:
    """What `work` gives. UserError where it fails: the models of the library raise anything."""
    try:
        with torch.no_grad():
            return work().to(policy.score_dtype)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        raise _refusal(policy, f"it cannot be {what} ({reason})") from error


def _refusal(policy: Policy, reason: str) -> UserError:
    return UserError(
        f"{policy.model.config.model_type} is not supported: {reason}",
        where=policy.source, allowed="the architectures that docs/models.md lists", fix="use another model",
    )  # fmt: skip
