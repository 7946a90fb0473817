"""Free generation against transformers' `generate` and its continuous batching: completion tokens per second.

    python perf/generation_speed.py [--models shipped 25M] [--repeats 3] [--json FILE]

32 prompts of the embedded world, 8 completions each, at most 64 rows alive at once, temperature 1, one process, one
thread, float32, the same weights and the same head. `even`: every completion has 64 tokens. `uneven`: after every
token a completion ends with probability 1/32, at the latest after 256, so that lengths are geometric; a hook on the
output head sees to that, on all sides alike. What is counted are tokens of completions up to their end. `generate`
gets 8 prompts a call with num_return_sequences = 8, and the default or a static cache; continuous batching gets all
prompts at once. The sides take turns after a warm-up round; medians of CPU seconds count, wall is beside them. A side
that fails is shown with its error.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from interleave_growth import load
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.utils import logging

from ra3.model.policy import Policy
from ra3.rollout.generate import SamplingParams, generate
from ra3.worlds.functions import world

PROMPTS, SAMPLES, ROWS = 32, 8, 64
CASES = {"even": (0.0, 64), "uneven": (1 / 32, 256)}
"""(probability that a completion ends after a token, most tokens)."""
Side = Callable[[int], int]
"""Seed -> completion tokens made."""


@dataclass(frozen=True)
class Timing:
    """One row of the table."""

    model: str
    case: str
    side: str
    tokens: float
    """Completion tokens of a round, median."""
    per_cpu_s: float
    """Completion tokens per CPU second, median of the rounds."""
    per_wall_s: float
    ours_over_it: float
    """How many times as fast ra3 is, by CPU time."""
    failure: str = ""


def end_with(model: Any, end_id: int, probability: float) -> Any:
    """From now on the head of `model` gives `end_id` this probability; returns the hook's handle."""
    odds = torch.tensor(probability / (1 - probability)).log()

    def hook(_module: Any, _inputs: Any, logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[..., end_id] = -torch.inf
        if probability:
            logits[..., end_id] = logits.logsumexp(-1) + odds
        return logits

    return model.get_output_embeddings().register_forward_hook(hook)


def ours(policy: Policy, prompts: list[list[int]], longest: int) -> Side:
    """ra3's sampler: all prompts in one call."""

    def run(seed: int) -> int:
        seeds = [seed * 10**6 + i for i in range(len(prompts) * SAMPLES)]
        return int(generate(policy, prompts, SAMPLES, SamplingParams(longest), seeds, ROWS).action_mask.sum())

    return run


def library(policy: Policy, model: Any, prompts: list[list[int]], longest: int, cache: str | None) -> Side:
    """transformers' `generate`, ROWS rows a call, prompts padded on the left."""
    at_once = ROWS // SAMPLES

    def run(seed: int) -> int:
        torch.manual_seed(seed)
        tokens = 0
        for first in range(0, len(prompts), at_once):
            batch = [[*policy.start_ids, *p] for p in prompts[first : first + at_once]]
            width = max(map(len, batch))
            ids = torch.tensor([[policy.end_id] * (width - len(p)) + p for p in batch])
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch])
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=longest, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                num_return_sequences=SAMPLES, eos_token_id=policy.end_id, pad_token_id=policy.end_id,
                **({"cache_implementation": cache} if cache else {}),
            )  # fmt: skip
            tokens += sum(completion_length(row, policy.end_id) for row in out[:, width:].tolist())
        return tokens

    return run


def continuous(policy: Policy, model: Any, prompts: list[list[int]], longest: int) -> Side:
    """transformers' continuous batching, with a cache that has room for ROWS rows."""
    full = max(map(len, prompts)) + 1 + longest
    own = ContinuousBatchingConfig(
        page_size=32, num_blocks=ROWS * (full // 32 + 2), max_batch_tokens=1024, max_requests_per_batch=ROWS
    )

    def run(seed: int) -> int:
        rules = GenerationConfig(
            max_new_tokens=longest, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=SAMPLES,
            eos_token_id=policy.end_id, pad_token_id=policy.end_id, use_cuda_graph=False,
        )  # fmt: skip
        own.seed = seed
        inputs = [[*policy.start_ids, *p] for p in prompts]
        found = model.generate_batch(inputs, generation_config=rules, continuous_batching_config=own)
        if len(found) != len(prompts) * SAMPLES:
            raise RuntimeError(f"{len(found)} of {len(prompts) * SAMPLES} completions came back")
        return sum(completion_length(out.generated_tokens, policy.end_id) for out in found.values())

    return run


def completion_length(ids: list[int], end_id: int) -> int:
    """Tokens up to the end token, itself among them."""
    return ids.index(end_id) + 1 if end_id in ids else len(ids)


def rounds(sides: dict[str, Side], repeats: int) -> dict[str, list[tuple[int, float, float]] | str]:
    """(tokens, CPU seconds, wall seconds) of every round of every side, in turns; the error of those that fail."""
    found: dict[str, list[tuple[int, float, float]] | str] = {name: [] for name in sides}
    for seed in range(repeats + 1):
        for name, side in sides.items():
            own = found[name]
            if isinstance(own, str):
                continue
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                tokens = side(seed)
            except Exception as error:  # a peer that does not run here is a result
                found[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            if seed:  # the first round is the warm-up
                own.append((tokens, time.process_time() - cpu, time.perf_counter() - wall))
    return found


def measure(name: str, case: str, repeats: int) -> list[Timing]:
    """All sides of one model and case."""
    policy = load(name)
    probability, longest = CASES[case]
    texts = [p.prompt for p in world.problems("eval", 0, PROMPTS)]
    prompts = [policy.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder))
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for model in (policy.model, plain):
        end_with(model, policy.end_id, probability)
    sides: dict[str, Side] = {
        "ra3": ours(policy, prompts, longest),
        "generate": library(policy, plain, prompts, longest, None),
        "generate, static cache": library(policy, plain, prompts, longest, "static"),
        "continuous batching": continuous(policy, plain, prompts, longest),
    }
    return timings(name, case, rounds(sides, repeats))


def timings(model: str, case: str, found: dict[str, list[tuple[int, float, float]] | str]) -> list[Timing]:
    """Medians, and ra3 over each."""
    speeds = {side: median(t / cpu for t, cpu, _ in own) for side, own in found.items() if not isinstance(own, str)}
    rows = []
    for side, own in found.items():
        if isinstance(own, str):
            rows.append(Timing(model, case, side, 0, 0, 0, 0, own))
            continue
        wall = median(t / w for t, _, w in own)
        ratio = speeds["ra3"] / speeds[side]
        rows.append(Timing(model, case, side, median(t for t, _, _ in own), speeds[side], wall, ratio))
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["shipped", "25M"], default=["shipped", "25M"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows: list[Timing] = []
    print("| model | lengths | side | tokens | per CPU second | per wall second | ra3 is faster by |")
    print("|---|---|---|---|---|---|---|")
    for name in args.models:
        for case in args.cases:
            for r in measure(name, case, args.repeats):
                rows.append(r)
                numbers = f"{r.tokens:,.0f} | {r.per_cpu_s:,.0f} | {r.per_wall_s:,.0f} | {r.ours_over_it:.2f}"
                print(f"| {r.model} | {r.case} | {r.side} | {r.failure or numbers} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
