"""Every family of docs/models.md: scoring = sampling = the library's own, or refused for the reason given there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from model.families import FACTORS, FAMILIES, SIZES, WINDOW, Family, gaps, make_folder, rope, verdict
from transformers import __version__

from ra3.errors import UserError
from ra3.model import agreement
from ra3.model.attention import Weighing
from ra3.model.policy import Policy

VERSION = f"transformers {__version__}"
TABLE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
LONG_ROPE = Family("", "phi3", {
    **rope("longrope", **FACTORS), "original_max_position_embeddings": 16, "sliding_window": None, "pad_token_id": 0,
})  # fmt: skip


def row_of(family: Family) -> str:
    return next(line for line in TABLE if line.startswith(f"| {family.name} |"))


def load(folder: Path, family: Family) -> Policy:
    return Policy.load(make_folder(folder, family), "pretrained", torch.float32, torch.device("cpu"), 0)


def family_of(model_type: str) -> Family:
    return next(family for family in FAMILIES if family.model_type == model_type)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_table_is_true(family, tmp_path):
    """With other versions than that of the table, what works must work."""
    row = verdict(family, tmp_path)
    assert row in TABLE or VERSION not in "".join(TABLE) and not row_of(family).endswith("| works |")


def test_the_table_is_whole():
    assert sum(line.startswith("| ") for line in TABLE) == 1 + len(FAMILIES)


@pytest.mark.parametrize("name", ["mistral", "gemma3_text", "phi3", "qwen2"])
def test_a_window_that_was_not_kept_would_be_seen(name, tmp_path, monkeypatch):
    windowed = next(f for f in FAMILIES if f.model_type == name and f.changes.get("sliding_window") == WINDOW)
    monkeypatch.setattr("ra3.model.attention.Weighing", lambda scale, window, *more: Weighing(scale, None, *more))
    with pytest.raises(UserError, match="scored, its logits are not those of its own forward pass, from token 8"):
        load(tmp_path, windowed)


def test_a_window_that_layers_do_not_tell_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "window", lambda config: 5)
    with pytest.raises(UserError, match="do not say that they look back over 5 tokens only"):
        load(tmp_path, family_of("llama"))


def test_a_window_that_is_too_long_to_try_is_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "WORK", 0)
    policy = load(tmp_path, family_of("mistral"))
    assert agreement.row_length(policy) == 8 and max(gaps(tmp_path, policy).values()) < 1e-4


def test_rope_by_length_does_not_depend_on_the_rows_beside(tmp_path):
    """A short row is scored alike alone and beside one beyond the threshold, which is the most that is read."""
    policy = load(tmp_path, LONG_ROPE)
    assert policy.positions == 16 < SIZES["max_position_embeddings"]
    short, long = torch.arange(12), torch.arange(40)
    with torch.no_grad():
        alone = policy.hidden(short[None] + 5, short[None])
        beside = policy.hidden(torch.cat([short, long])[None] + 5, torch.cat([short, long])[None])
    torch.testing.assert_close(beside[:, :12], alone, atol=1e-5, rtol=1e-5)
