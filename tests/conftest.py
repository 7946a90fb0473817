"""Fixtures: small real models with the embedded world's tokenizer, and documents of the embedded world."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from ra3.latents import encode_all
from ra3.policy import Policy
from ra3.testbed import world
from ra3.testbed.tokenizer import fast_tokenizer

torch.set_num_threads(1)


def make_model_folder(folder: Path, architecture: str = "llama", **changes) -> Path:
    """A model folder with config and tokenizer, without weights."""
    tokenizer = fast_tokenizer()
    tokenizer.save_pretrained(folder)
    sizes = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 2048,
    }  # fmt: skip
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **{**sizes, **ends, **changes})
    config.save_pretrained(folder)
    return folder


def make_policy(folder: Path, architecture: str = "llama", seed: int = 0, **changes) -> Policy:
    """A randomly initialised policy."""
    make_model_folder(folder, architecture, **changes)
    return Policy.load(folder, "random", torch.float32, torch.device("cpu"), seed)


def raise_think_logit(policy: Policy, prefix_ids: list[int], by: float) -> None:
    """Makes an untied policy open comments more readily, above all after `prefix_ids`."""
    ids = torch.tensor([prefix_ids])
    hidden = policy.hidden(ids, torch.arange(len(prefix_ids))[None])[0, -1].detach()
    policy.model.lm_head.weight.data[policy.syntax.think_id] += by * hidden / hidden.square().sum()


@pytest.fixture(scope="session")
def policy(tmp_path_factory) -> Policy:
    """A random two-layer Llama; tests that train take a snapshot."""
    return make_policy(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def documents(policy):
    """Eight encoded documents of the embedded world."""
    encoded, bad = encode_all(policy.tokenizer, world.documents("expert", 0, 8), policy.syntax)
    assert not bad
    return encoded
