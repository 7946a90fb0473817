"""Attention over the slot cache: chunks of any length of any rows, against the formula written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3.model import attention, chunks
from ra3.model.attention import slot_attention
from ra3.model.chunks import ForwardBatch
from ra3.model.kv_cache import SlotCache, SlotLayer

CPU = torch.device("cpu")
HEADS, KEY_HEADS, SIZE = 4, 2, 8


def written_out(query, keys, values, position):
    """[H,D] one token's output, from the keys and values [S,K,D] of its row, of which it sees `position` + 1."""
    shared = HEADS // KEY_HEADS
    keys = keys[: position + 1].repeat_interleave(shared, 1)
    weights = (torch.einsum("hd,shd->sh", query, keys) * SIZE**-0.5).softmax(0)
    return torch.einsum("sh,shd->hd", weights, values[: position + 1].repeat_interleave(shared, 1))


def attended(passes, num_rows, scale=1.0, dtype=torch.float64):
    """Every pass's output by the cache [N,H,D], and as written out."""
    generator = torch.Generator().manual_seed(0)
    cache = SlotCache(num_rows, 1, CPU, dtype)
    (layer,) = cache.layers
    assert isinstance(layer, SlotLayer)
    keys, values = ([torch.zeros(0, KEY_HEADS, SIZE) for _ in range(num_rows)] for _ in range(2))
    for rows, lengths in passes:
        read = ForwardBatch(rows, [len(keys[r]) for r in rows], lengths, CPU)
        count = sum(lengths)
        query = scale * torch.randn(count, HEADS, SIZE, generator=generator, dtype=torch.float64)
        key, value = (torch.randn(count, KEY_HEADS, SIZE, generator=generator, dtype=torch.float64) for _ in range(2))
        for row, begin, end in zip(rows, read.begins.tolist(), read.after.tolist(), strict=True):
            for held, new in ((keys, key), (values, value)):  # a float32 model's keys and values are held in float32
                held[row] = torch.cat([held[row], new[begin:end].to(dtype).double()])
        cache.next(read)
        stored = layer.update(key.transpose(0, 1)[None], value.transpose(0, 1)[None])
        out, _ = slot_attention(None, query.transpose(0, 1)[None], *stored, None)
        where = zip(read.row.tolist(), read.positions.tolist(), strict=True)
        expected = [written_out(q, keys[r], values[r], p) for q, (r, p) in zip(query, where, strict=True)]
        yield out[0], torch.stack(expected)


@st.composite
def reading(draw):
    """Passes over up to four rows; in each, some rows read chunks of one to five tokens."""
    rows = list(range(draw(st.integers(1, 4))))
    first = (rows, [draw(st.integers(1, 5)) for _ in rows])
    some = draw(st.lists(st.lists(st.sampled_from(rows), unique=True, min_size=1), max_size=5))
    return [first, *((sorted(chosen), [draw(st.integers(1, 5)) for _ in chosen]) for chosen in some)], len(rows)


@pytest.mark.parametrize("how", ["in groups", "in groups of 2", "one by one", "padded"])
@settings(max_examples=60)
@given(reading())
def test_every_token_sees_its_row_so_far(how, work):
    with pytest.MonkeyPatch.context() as patch:
        if how in ("in groups of 2", "one by one"):
            patch.setattr(chunks, "TOGETHER", 2 if how == "in groups of 2" else 1)
        if how == "padded":  # as on a GPU
            patch.setattr(attention, "_in_groups", attention._together)
        for ours, expected in attended(*work):
            torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("scale", "precise"), [(0.1, False), (30.0, True)])
def test_float32_models_keep_float64_where_scores_are_large(scale, precise):
    passes = [([0, 1], [5, 3]), ([1], [1]), ([0, 1], [2, 4])]
    for ours, expected in attended(passes, 2, scale, torch.float32):
        error = float((ours - expected).abs().max())
        assert error < 1e-12 if precise else 1e-12 < error < 1e-5


def test_a_layer_is_attended_in_float64_once_scores_are_large():
    cache = SlotCache(1, 1, CPU, torch.float32)
    (layer,) = cache.layers
    assert isinstance(layer, SlotLayer)
    for start, scale in ((0, 0.1), (1, 100.0), (2, 0.1)):
        cache.next(ForwardBatch([0], [start], [1], CPU))
        states = torch.ones(1, KEY_HEADS, 1, SIZE, dtype=torch.float64)
        query = scale * torch.ones(1, HEADS, 1, SIZE, dtype=torch.float64)
        slot_attention(None, query, *layer.update(states, states), None)
        assert layer.precise == (start > 0)
        assert layer.states.dtype == torch.float32
