"""Every family of docs/models.md: scoring = sampling = the library's own, or refused for the reason given there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from model.families import FACTORS, FAMILIES, SIZES, WINDOW, Family, gaps, make_folder, rope, rows, verdict
from transformers import AutoModelForCausalLM, __version__

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


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt_oss", "deepseek_v3"])
def test_gradients_are_the_librarys_own(name, tmp_path):
    """Of the sum of the rows' log-probabilities, by all weights."""
    policy = load(tmp_path, family_of(name))
    own = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32).eval()
    ids = rows(policy)
    for row in ids:
        own(input_ids=row[None]).logits[0, :-1].log_softmax(-1).gather(1, row[1:, None]).sum().backward()
    positions = torch.cat([torch.arange(len(row)) for row in ids])
    hidden = policy.hidden(torch.cat(ids)[None], positions[None])[0].split([len(row) for row in ids])
    for row, states in zip(ids, hidden, strict=True):
        policy.logits(states[:-1]).log_softmax(-1).gather(1, row[1:, None]).sum().backward(retain_graph=True)
    for (key, ours), theirs in zip(policy.model.named_parameters(), own.parameters(), strict=True):
        if theirs.grad is not None:
            assert (ours.grad - theirs.grad).norm() < 1e-3 * theirs.grad.norm() + 1e-4, key


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
