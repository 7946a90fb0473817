"""GGUF files: de-quantised, said so, and trained and saved like any other model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from test_model_folders import TEXT, byte_level, load, refused  # noqa: F401  (a fixture)
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, Qwen2Config

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    **{f"model.layers.{layer}.{name}": f"blk.{layer}.{short}" for layer in (0, 1) for name, short in {
        "input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
        "self_attn.o_proj.weight": "attn_output.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
        "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
        **{f"self_attn.{x}_proj.{part}": f"attn_{x}.{part}" for x in "qkv" for part in ("weight", "bias")},
    }.items()},
}  # fmt: skip


@pytest.fixture
def model(byte_level):  # noqa: F811
    """A small Qwen 2."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    vocabulary = Tokenizer.from_file(str(byte_level)).get_vocab_size() + 4  # as published ones, padded
    config = Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=vocabulary, max_position_embeddings=128)
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture
def file(model, byte_level, tmp_path) -> Path:  # noqa: F811
    """The model with its weights in 8 bits."""
    path, config, own = tmp_path / "gguf" / "tiny.Q8_0.gguf", model.config, Tokenizer.from_file(str(byte_level))
    path.parent.mkdir()
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    words = [own.id_to_token(token) for token in range(own.get_vocab_size())]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.NORMAL}
    writer.add_token_types([kinds[word == "<|endoftext|>"] for word in words])
    writer.add_token_merges([" ".join(pair) for pair in merges(byte_level)])
    writer.add_eos_token_id(own.token_to_id("<|endoftext|>"))
    for name, tensor in model.state_dict().items():
        values = tensor.numpy().astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0 if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(NAMES[name], gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def merges(path: Path) -> list[list[str]]:
    return json.loads(path.read_text())["model"]["merges"]


@pytest.mark.parametrize("place", ["the file", "its folder"])
def test_a_gguf_file_is_de_quantised(model, file, tmp_path, place):
    policy = load(file if place == "the file" else file.parent)
    assert policy.notes == ("the weights of tiny.Q8_0.gguf were de-quantised, and are saved so",)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(policy.model.state_dict()[name], tensor, atol=1e-3, rtol=1e-2)
    assert policy.tokenizer.decode(policy.tokenizer(TEXT).input_ids) == TEXT
    assert policy.tokenizer.eos_token == "<|endoftext|>"
    policy.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert not again.notes
    for name, tensor in policy.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    assert again.tokenizer(TEXT).input_ids == policy.tokenizer(TEXT).input_ids


def test_one_of_several_must_be_named(file):
    shutil.copy(file, file.parent / "tiny.other.gguf")
    message = refused(file.parent)
    assert "several GGUF files" in message and "tiny.Q8_0.gguf, tiny.other.gguf" in message


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_what_reads_it_is_an_extra(file, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'ra3[gguf]'" in refused(file)


def test_a_broken_file_is_one_message(file):
    file.write_bytes(file.read_bytes()[:300])
    assert "cannot be loaded" in refused(file)
