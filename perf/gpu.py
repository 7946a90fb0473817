"""Training and generation of a 0.6B-class model on one GPU, in bfloat16, beside what the GPU can multiply.

    python perf/gpu.py [--json FILE]                 random weights in the shape of Qwen3-0.6B
    python perf/gpu.py --tiny --device cpu           the same in small, to see that it runs
    RA3_VLLM_PYTHON=VENV/bin/python python perf/gpu.py       and vLLM, as RLVR uses it

M-step: tokens per second of whole updates whose passes hold 8,192 tokens, and once more in eight lanes, as ranks would
share it. RLVR and E-step: the same of a policy update with passes of 16,384 tokens. All also as a share of the matrix
peak, which is measured first, on square matrices of the same format; FLOPs as in ra3/model/update.py. Generation:
tokens per second against transformers' continuous batching on the same prompts and lengths, and against vLLM with our
scoring of what it wrote. Medians after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from random_models import save_config
from transformers import GenerationConfig

from ra3.config.settings import UpdateSettings
from ra3.em.mstep import next_token_step, trained_tokens
from ra3.model.policy import Policy
from ra3.model.update import make_optimizer, training_cost
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import clipped_policy_loss
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.vllm import PYTHON, VllmServer
from ra3.rows import FULL, RowBuilder, Rows, build

FULL_SIZE = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
}  # fmt: skip


def make_policy(sizes: dict[str, int], device: torch.device) -> Policy:
    """Random Qwen3 weights."""
    with tempfile.TemporaryDirectory() as folder:
        save_config("qwen3", sizes, Path(folder))
        return Policy.load(Path(folder), "random", torch.bfloat16, device, 0)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one that does not count."""
    found = []
    for _ in range(repeats + 1):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return median(found[1:])


def matrix_peak(size: int, device: torch.device, repeats: int) -> float:
    """FLOPs per second of a bfloat16 product of two square matrices, ten at a time."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 20 * size**3 / median_seconds(lambda: [a @ b for _ in range(10)], repeats)


def random_rows(lengths: list[int], vocabulary: int, chosen: bool) -> Rows:
    """Rows of random tokens, all but the first chosen by the policy, or given."""
    generator, builders = torch.Generator().manual_seed(0), []
    for i, length in enumerate(lengths):
        ids = torch.randint(1, min(vocabulary, 390), (length,), generator=generator).tolist()
        builder = RowBuilder.start(i, ids[:1])
        for token in ids[1:] if chosen else []:
            builder.append(token, 0, FULL, -6.0, -6.0)
        if not chosen:
            builder.force(ids[1:], 0, [0.0] * (length - 1))
        builders.append(builder)
    return build(builders)


def training(policy: Policy, kind: str, pass_tokens: int, peak: float, repeats: int) -> dict[str, Any]:
    """Tokens per second of an update of two passes, half of it in one row, and its share of the peak."""
    lengths = [pass_tokens // 2, *[pass_tokens // 8] * 4] * 2
    rows = random_rows(lengths, policy.vocabulary, kind == "RL step")
    optimizer, update = make_optimizer(policy.model, "adamw", 1e-6), UpdateSettings(micro_batch_tokens=pass_tokens)
    advantage = torch.randn(rows.ids.shape, generator=torch.Generator().manual_seed(0)) * rows.action_mask
    loss = PolicyLoss(clipped_policy_loss, 0.2, 0.28)
    steps = {
        "M-step": lambda: next_token_step(policy, optimizer, rows, update),
        "RL step": lambda: policy_step(policy, optimizer, rows, advantage, loss, update),
    }
    spent = median_seconds(steps[kind], repeats)
    flops = training_cost(policy, rows, trained_tokens(rows))["flops"]
    rate = float(rows.length.sum()) / spent
    what = f"{kind}, {pass_tokens} tokens a pass{f', {policy.lanes} lanes' * (policy.lanes > 1)}"
    return {"what": what, "tokens_per_s": rate, "of_peak": flops / spent / peak}


def generation(policy: Policy, batch: int, tokens: int, repeats: int) -> list[dict[str, Any]]:
    """ra3's sampler and transformers' continuous batching on the same prompts, `tokens` new ones each."""
    ids = torch.randint(1, 390, (batch, 64), generator=torch.Generator().manual_seed(0)).tolist()
    rules = SamplingParams(tokens)
    ours = median_seconds(lambda: generate(policy, ids, 1, rules, list(range(batch))), repeats)
    names = [("ra3 generate", ours)]
    if PYTHON in os.environ:
        with tempfile.TemporaryDirectory() as folder, VllmServer(16384, Path(folder, "log"), print) as writer:
            by_vllm = replace(policy, writer=writer)
            spent = median_seconds(lambda: generate(by_vllm, ids, 1, rules, list(range(batch))), repeats)
            names += [("ra3 with vLLM, scored", spent)]
    config = GenerationConfig(max_new_tokens=tokens, do_sample=True, eos_token_id=-1, pad_token_id=0)
    policy.model.set_attn_implementation("sdpa")
    policy.model.to(policy.dtype)
    batched = {"generation_config": config, "progress_bar": False}
    theirs = median_seconds(lambda: policy.model.generate_batch(ids, **batched), repeats)
    names += [("transformers, continuous batching", theirs)]
    return [{"what": f"{name}, {batch} rows", "tokens_per_s": batch * tokens / spent} for name, spent in names]


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small model and short rows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    device = torch.device(args.device)
    policy = make_policy(TINY if args.tiny else FULL_SIZE, device)
    peak = matrix_peak(256 if args.tiny else 8192, device, args.repeats)
    scale = 64 if args.tiny else 1
    rows = [{"what": "matrix peak, TFLOP/s", "tokens_per_s": peak / 1e12}]
    rows += [training(policy, "M-step", 8192 // scale, peak, args.repeats)]
    rows += [training(replace(policy, lanes=8), "M-step", 8192 // scale, peak, args.repeats)]
    rows += [training(policy, "RL step", 16384 // scale, peak, args.repeats)]
    rows += generation(policy, 4 if args.tiny else 64, 8 if args.tiny else 512, args.repeats)
    print("| what | tokens per second | share of the peak |\n|---|---|---|")
    for row in rows:
        share = f"{row['of_peak']:.0%}" if "of_peak" in row else ""
        print(f"| {row['what']} | {row['tokens_per_s']:,.1f} | {share} |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
