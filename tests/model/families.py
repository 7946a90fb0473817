"""Decoder families of transformers, each built small from its config, and whether ra3 computes what the library does.

    PYTHONPATH=tests python -m model.families     the table of docs/models.md

Each has random weights drawn wide, so that attention matters, thresholds (windows, long RoPE) of a few tokens, and rows
of unequal length beyond them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ra3.errors import UserError
from ra3.model.kv_cache import ForwardBatch, SlotCache
from ra3.model.load import quiet
from ra3.model.policy import Policy
from ra3.worlds.functions import world as functions

WINDOW = 8
LENGTHS = (41, 5, 23)
"""Tokens of the rows, all but one beyond the threshold."""
SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GPT2_SIZES = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "routed_scaling_factor": 1.0, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
}  # fmt: skip


def rope(kind: str, **values: Any) -> dict[str, Any]:
    """A scaled RoPE made for 16 tokens."""
    whole = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16, **values}
    return {"rope_parameters": whole}


@dataclass(frozen=True)
class Family:
    """A family as the table names it, and the config that makes a small one of it."""

    name: str
    model_type: str
    changes: dict[str, Any] = field(default_factory=dict)


LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
FAMILIES = (
    Family("Llama 1, 2; CodeLlama, TinyLlama, Yi, DeepSeek-Coder 1, SmolLM 1 and 2", "llama"),
    Family("Llama 3.1 to 3.3, scaled RoPE", "llama", LLAMA3),
    Family("Llama with linear RoPE (DeepSeek-Coder 6.7B)", "llama", rope("linear")),
    Family("Llama with YaRN", "llama", rope("yarn")),
    Family("Llama with dynamic RoPE", "llama", {**rope("dynamic"), "max_position_embeddings": 41}),
    Family("Mistral with its window (7B v0.1)", "mistral", {"sliding_window": WINDOW}),
    Family("Mistral without (v0.2 and later, Codestral)", "mistral", {"sliding_window": None}),
    Family("Mixtral", "mixtral", {**EXPERTS, "sliding_window": WINDOW}),
    Family("Qwen 2, 2.5, Qwen2.5-Coder", "qwen2"),
    Family("Qwen 2 with windows", "qwen2", {**SLIDING, "use_sliding_window": True}),
    Family("Qwen 1.5 and 2 MoE", "qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 16}),
    Family("Qwen 3", "qwen3", {"head_dim": 8}),
    Family("Qwen 3 MoE, Qwen3-Coder", "qwen3_moe", {**EXPERTS, "head_dim": 8}),
    Family("Gemma 1, CodeGemma", "gemma", {"head_dim": 8}),
    Family("Gemma 2, windows and capped scores", "gemma2", {**SLIDING, "head_dim": 8, "attn_logit_softcapping": 2.0}),
    Family("Gemma 3, 270M and 1B", "gemma3_text", {**SLIDING, "head_dim": 8}),
    Family("Gemma 3, 4B and more, without pictures", "gemma3", {
        "text_config": {**SIZES, **SLIDING, "head_dim": 8, "vocab_size": functions.tokenizer().vocab_size},
        "vision_config": {**SIZES, "num_key_value_heads": 4, "image_size": 28}, "mm_tokens_per_image": 4,
        "image_token_id": 5, "boi_token_id": 6, "eoi_token_id": 7,
    }),
    Family("Phi-1, 1.5, 2", "phi"),
    Family("Phi-3 and 3.5, 4k; Phi-4", "phi3", {"sliding_window": WINDOW, "pad_token_id": 0}),
    Family("Phi-3 and 3.5, 128k; Phi-4-mini, long RoPE", "phi3", {
        **rope("longrope", original_max_position_embeddings=41, **FACTORS), "sliding_window": None,
        "original_max_position_embeddings": 41, "pad_token_id": 0,
    }),
    Family("StarCoder 2", "starcoder2", {"sliding_window": WINDOW}),
    Family("StarCoder 1, SantaCoder", "gpt_bigcode", GPT2_SIZES),
    Family("GPT-2", "gpt2", GPT2_SIZES),
    Family("GPT-NeoX, Pythia", "gpt_neox"),
    Family("OPT", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    Family("StableLM 2, StableCode", "stablelm", {"use_qkv_bias": True}),
    Family("StableLM 2 12B, normalised queries", "stablelm", {"qk_layernorm": True, "use_parallel_residual": True}),
    Family("OLMo 1", "olmo"),
    Family("OLMo 2", "olmo2"),
    Family("OLMo 3", "olmo3", SLIDING),
    Family("OLMoE", "olmoe", EXPERTS),
    Family("Granite 3, Granite code", "granite", {"logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    Family("Granite MoE", "granitemoe", {**EXPERTS, "logits_scaling": 8.0}),
    Family("SmolLM 3", "smollm3", {"no_rope_layers": [1, 0, 1], "pad_token_id": 0}),
    Family("Cohere Command R", "cohere", {"logit_scale": 0.25}),
    Family("Cohere Command R7B", "cohere2", {**SLIDING, "logit_scale": 0.25}),
    Family("GLM 4", "glm", {"head_dim": 8, "pad_token_id": 0}),
    Family("GLM 4 0414", "glm4", {"head_dim": 8, "pad_token_id": 0}),
    Family("Nemotron, Minitron", "nemotron"),
    Family("Seed-OSS", "seed_oss", {"head_dim": 8}),
    Family("Ernie 4.5", "ernie4_5", {"head_dim": 8}),
    Family("EXAONE 4", "exaone4", {**SLIDING, "head_dim": 8}),
    Family("Ministral 8B", "ministral", {**SLIDING, "head_dim": 8}),
    Family("Ministral 3", "ministral3", {"head_dim": 8}),
    Family("DeepSeek V2, Coder V2 Lite", "deepseek_v2", {**LATENT, "head_dim": 8}),
    Family("DeepSeek V3, R1", "deepseek_v3", LATENT),
    Family("JetMoe", "jetmoe", {"kv_channels": 8, "num_local_experts": 4}),
    Family("GPT-OSS, windows and sinks", "gpt_oss", {**EXPERTS, **SLIDING, "head_dim": 8}),
    Family("Falcon 7B, 40B", "falcon"),
    Family("GPT-Neo", "gpt_neo", {"attention_types": [[["global", "local"], 1]], "num_hidden_layers": 2}),
    Family("GPT-J", "gptj", {**GPT2_SIZES, "rotary_dim": 4}),
    Family("CodeGen", "codegen", {**GPT2_SIZES, "rotary_dim": 4}),
    Family("Bloom", "bloom", {"n_layer": 2, "n_head": 4}),
    Family("MPT", "mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4}),
    Family("Llama 4", "llama4_text", {**EXPERTS, "head_dim": 8, "attention_chunk_size": 8}),
    Family("Mamba", "mamba"),
    Family("RecurrentGemma", "recurrent_gemma", {"head_dim": 8}),
    Family("Jamba", "jamba", EXPERTS),
    Family("LFM 2", "lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
    Family("Qwen 3 Next", "qwen3_next", {**EXPERTS, "head_dim": 8}),
)  # fmt: skip


def make_folder(folder: Path, family: Family) -> Path:
    """A folder with a random model of the family and the embedded world's tokenizer."""
    tokenizer = functions.tokenizer()
    tokenizer.save_pretrained(folder)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    changes = {**SIZES, "vocab_size": len(tokenizer), **ends, **family.changes}
    torch.manual_seed(0)
    with quiet():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.model_type, **changes))
        model.save_pretrained(folder)
    return folder


def rows(policy: Policy) -> list[torch.Tensor]:
    """Random rows of `LENGTHS`."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, policy.vocabulary, (length,), generator=generator) for length in LENGTHS]


@torch.no_grad()
def gaps(folder: Path, policy: Policy) -> dict[str, float]:
    """How far log-probabilities are at most from the library's own, as rows are scored and as they are sampled."""
    with quiet():
        own = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = rows(policy)
    expected = torch.cat([own(input_ids=row[None]).logits[0].log_softmax(-1) for row in ids])
    positions = torch.cat([torch.arange(len(row)) for row in ids])
    scored = policy.hidden(torch.cat(ids)[None], positions[None])[0]
    cache = SlotCache(len(ids), policy.model.config.get_text_config().num_hidden_layers, policy.device)
    read, sampled = [0] * len(ids), []
    while running := [r for r, row in enumerate(ids) if read[r] < len(row)]:
        lengths = [min(1 + (7 * r + 5 * read[r]) % 11, len(ids[r]) - read[r]) for r in running]
        cache.begin_pass(batch := ForwardBatch(running, [read[r] for r in running], lengths, policy.device))
        chunks = [ids[r][read[r] : read[r] + n] for r, n in zip(running, lengths, strict=True)]
        hidden = policy.hidden(torch.cat(chunks)[None], batch.positions[None], cache)[0].split(lengths)
        for r, n, part in zip(running, lengths, hidden, strict=True):
            sampled.append((r, read[r], part))
            read[r] += n
    in_order = torch.cat([part for _, _, part in sorted(sampled, key=lambda item: item[:2])])
    found = {"scoring": scored, "sampling": in_order}
    return {name: float((policy.logits(h).log_softmax(-1) - expected).abs().max()) for name, h in found.items()}


def verdict(family: Family, folder: Path) -> str:
    """A row of the table. AssertionError if it is taken and its log-probabilities are not the library's own."""
    make_folder(folder, family)
    try:
        policy = Policy.load(folder, "pretrained", torch.float32, torch.device("cpu"), 0)
        assert max(gaps(folder, policy).values()) < 1e-4
        what = "works"
    except UserError as error:
        what = error.what.replace(f"{family.model_type} is not supported", "refused")
    return f"| {family.name} | `{family.model_type}` | {what} |"


if __name__ == "__main__":
    print("| Family | `model_type` | |\n|---|---|---|")
    for each in FAMILIES:
        with tempfile.TemporaryDirectory() as place:
            print(verdict(each, Path(place)), flush=True)
