"""What bfloat16 and threads bring on a CPU: an M-step and sampled programs, each format and number of threads in turn.

    python perf/number_formats.py MODEL [--threads 1 2] [--repeats 2] [--documents 16] [--new-tokens 96]

The M-step trains on functions of the standard library with AdamW; the programs are 8 of each of 16 prompts, the first
lines of these functions, and every one is written to its last token. Tokens per second by the clock, the best of the
repeats, and their ratio to float32 with one thread. float32 is timed with torch's own products, too, where ra3 takes
oneDNN's (ra3/model/products.py). What bfloat16 can bring depends on the processor: with AMX (lscpu:
amx_bf16) its matrix products are several times as fast as float32's, with avx512_bf16 alone about 1.3 times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from torch import nn

from ra3.commands.inputs import read_corpus
from ra3.config.settings import Config, CorpusSettings, UpdateSettings
from ra3.data.latents import encode_all
from ra3.em.mstep import next_token_step, trained_tokens
from ra3.model.policy import Policy
from ra3.model.products import OneDnnLinear, onednn_is_faster
from ra3.model.update import make_optimizer
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import expert_rows

PROMPTS, SAMPLES = 16, 8
FORMATS = {"float32": torch.float32, "float32, torch's products": torch.float32, "bfloat16": torch.bfloat16}


def sides(model: Path, kind: str, documents: int, new_tokens: int) -> dict[str, Callable[[], float]]:
    """What is timed: each returns the tokens that it made or trained on."""
    policy = Policy.load(model, "pretrained", FORMATS[kind], torch.device("cpu"), 0)
    for module in policy.model.modules() if "torch" in kind else ():
        if type(module) is OneDnnLinear:
            object.__setattr__(module, "__class__", nn.Linear)
    corpus = read_corpus(Config(corpus=CorpusSettings(path="stdlib", pattern="[b-d]*.py", unit="function")))
    windows, _ = encode_all(policy.syntax, corpus.documents, max_tokens=384)
    rows = expert_rows(policy, [w for w in windows if len(w.step_ids) > 8][:documents])
    prompts = [[*w.context_ids, *w.step_ids[0], *w.step_ids[1]] for w in windows if len(w.step_ids) > 8][:PROMPTS]
    optimizer, never = make_optimizer(policy.model, "adamw", 1e-6), SamplingParams(new_tokens)

    def mstep() -> float:
        next_token_step(policy, optimizer, rows, UpdateSettings())
        return float(trained_tokens(rows).sum())

    def sampling() -> float:
        return float(generate(policy, prompts, SAMPLES, never, range(PROMPTS * SAMPLES)).action_mask.sum())

    return {"M-step": mstep, "sampling": sampling}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=96)
    given = parser.parse_args()
    kinds = [kind for kind in FORMATS if onednn_is_faster() or "torch" not in kind]
    own = {kind: sides(given.model, kind, given.documents, given.new_tokens) for kind in kinds}
    best: dict[tuple[str, str, int], float] = {}
    for threads, kind in [*product(given.threads, kinds)] * given.repeats:
        torch.set_num_threads(threads)
        for name, work in own[kind].items():
            begin = time.perf_counter()
            rate = work() / (time.perf_counter() - begin)
            best[name, kind, threads] = max(best.get((name, kind, threads), 0.0), rate)
    print("| | format | threads | tokens a second | ratio |\n|---|---|---|---|---|")
    for (name, kind, threads), rate in sorted(best.items()):
        print(f"| {name} | {kind} | {threads} | {rate:,.0f} | {rate / best[name, 'float32', given.threads[0]]:.2f} |")


if __name__ == "__main__":
    main()
