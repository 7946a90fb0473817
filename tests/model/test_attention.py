"""Attention over the slot cache: chunks of any length of any rows, against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3.model import attention, kv_cache
from ra3.model.kv_cache import ForwardBatch, SlotCache, SlotLayer

CPU = torch.device("cpu")
HEADS, KEY_HEADS, SIZE = 4, 2, 8


def written_out(query, keys, values, position):
    """[H,D] one token's output, from the keys and values [S,K,D] of its row, of which it sees `position` + 1."""
    shared = HEADS // KEY_HEADS
    keys = keys[: position + 1].repeat_interleave(shared, 1)
    weights = (torch.einsum("hd,shd->sh", query, keys) * SIZE**-0.5).softmax(0)
    return torch.einsum("sh,shd->hd", weights, values[: position + 1].repeat_interleave(shared, 1))


def attended(passes, num_rows, dtype=torch.float64):
    """Every pass's output by the cache [N,H,D], and as written out, in float64."""
    generator = torch.Generator().manual_seed(0)
    cache = SlotCache(num_rows, 1, CPU)
    (layer,) = cache.layers
    assert isinstance(layer, SlotLayer)
    keys, values = ([torch.zeros(0, KEY_HEADS, SIZE, dtype=torch.float64) for _ in range(num_rows)] for _ in range(2))
    for rows, lengths in passes:
        read = ForwardBatch(rows, [len(keys[r]) for r in rows], lengths, CPU)
        count = sum(lengths)
        query = torch.randn(count, HEADS, SIZE, generator=generator, dtype=dtype)
        key, value = (torch.randn(count, KEY_HEADS, SIZE, generator=generator, dtype=dtype) for _ in range(2))
        for row, begin, end in zip(rows, read.begin.tolist(), read.after.tolist(), strict=True):
            for held, new in ((keys, key), (values, value)):
                held[row] = torch.cat([held[row], new[begin:end].double()])
        cache.begin_pass(read)
        stored = layer.update(key.transpose(0, 1)[None], value.transpose(0, 1)[None])
        out, _ = attention.attention(None, query.transpose(0, 1)[None], *stored, None)
        where = zip(read.row.tolist(), read.positions.tolist(), strict=True)
        expected = [written_out(q.double(), keys[r], values[r], p) for q, (r, p) in zip(query, where, strict=True)]
        yield out[0], torch.stack(expected)


def all_together(batch):
    """One group, padded, as on a GPU."""
    return [np.arange(len(batch.rows))]


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
            patch.setattr(kv_cache, "MAX_GROUP_ROWS", 2 if how == "in groups of 2" else 1)
        if how == "padded":  # as on a GPU
            patch.setattr(kv_cache, "_alike", all_together)
        for ours, expected in attended(*work):
            torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("how", ["in groups", "padded"])
def test_float32_models_attend_in_float32(monkeypatch, how):
    if how == "padded":
        monkeypatch.setattr(kv_cache, "_alike", all_together)
    for ours, expected in attended([([0, 1], [5, 3]), ([1], [1]), ([0, 1], [2, 4])], 2, torch.float32):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", [slice(1, 3), torch.tensor([0, 2, 3])])
@pytest.mark.parametrize("num_slots", [2, 5])
def test_a_row_is_copied_to_others_up_to_the_last_slot_that_there_is(target, num_slots):
    cache = SlotCache(5, 1, CPU)
    (layer,) = cache.layers
    layer.states = before = torch.arange(5 * 5 * 3.0).view(5, 5, 3)
    expected = before.clone()
    expected[target, :num_slots] = before[4, :num_slots].clone()
    cache.copy(4, target, num_slots)
    assert (layer.states == expected).all()
