"""Models of random weights with the embedded world's tokenizer: speed does not depend on what a model knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ra3.worlds.functions import world

QWEN2 = {
    "25M": {
        "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 12,
        "num_key_value_heads": 2,
    },
    "0.1B": {
        "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 2, "vocab_size": 151936,
    },
}  # fmt: skip
"""Two key heads as in the small Qwen2 models, and for the larger one their vocabulary."""


def save_config(architecture: str, sizes: Mapping[str, Any], folder: Path) -> Any:
    """Writes tokenizer and config, without weights, into `folder`; returns the config. `sizes` go before defaults."""
    tokenizer = world.tokenizer()
    tokenizer.save_pretrained(folder)
    rest = {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": True, "max_position_embeddings": 32768,
    }  # fmt: skip
    config = AutoConfig.for_model(architecture, **(rest | dict(sizes)))
    config.save_pretrained(folder)
    return config
