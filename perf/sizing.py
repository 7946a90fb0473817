"""What a run would need: memory of a GPU by the plan's own formulas, and hours and dollars by a model of their cost.

    python perf/sizing.py memory [--ranks 1 8 16]
    python perf/sizing.py cost RECIPE [--gpus 8] [--peak 989e12] [--bandwidth 3.35e12] [--share 0.4] [--dollars 2.5]

No weights are read or made: models are built from their shapes on torch's meta device. `memory` is what `--dry-run`
would say (ra3/commands/memory.py) for mid-training in bfloat16 with activation checkpointing, in GB of the fullest
rank. `cost` counts the operations of ra3/model/update.py for N weights in layers, V D in the head, L H d of attention:

    a pass over T tokens, v of which a token sees      F(T) = T (2 N + 2 V D + 4 L H d v)
    M-step on T tokens                                 3 F(T), (2 + learning share) F(T) with an adapter
    E-step of U updates x D documents x G rollouts     sampling 1, scoring under pi 1, learning 3 F(U D G T_doc)
    annotation of T tokens                             sampling 1 F(T)

    seconds = (learning + scoring) / (GPUs * peak * share)  +  passes of sampling * bytes of a pass / bandwidth

A pass of sampling reads the weights once for all rows that run together, 256 to a GPU, and their keys and values; a
document takes a pass for each line, and at 40% of these for each word of a latent. Peak, bandwidth and dollars an hour
are those that are given (the defaults: an H100 SXM's data sheet, a common price); `share`, of the peak that learning
reaches, is an assumption. None of it is measured.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ra3 import ranks
from ra3.commands import memory
from ra3.config.load import load
from ra3.config.settings import Config, LoraSettings, RunSettings, UpdateSettings
from ra3.model.lora import Lora
from ra3.model.policy import Policy
from ra3.model.update import forward_flops
from ra3.rollout.decoding import MAX_RUNNING_ROWS

QWEN = ("qwen2", 151936)
SHAPES = {
    "Qwen2.5-0.5B": (*QWEN, 896, 4864, 24, 14, 2, True),
    "Llama-3.2-1B": ("llama", 128256, 2048, 8192, 16, 32, 8, True),
    "Qwen2.5-1.5B": (*QWEN, 1536, 8960, 28, 12, 2, True),
    "Qwen2.5-7B": ("qwen2", 152064, 3584, 18944, 28, 28, 4, False),
    "Llama-3.1-8B": ("llama", 128256, 4096, 14336, 32, 32, 8, False),
    "Qwen2.5-14B": ("qwen2", 152064, 5120, 13824, 48, 40, 8, False),
    "Qwen2.5-32B": ("qwen2", 152064, 5120, 27648, 64, 40, 8, False),
}
"""Architecture, vocabulary, width, inner width, layers, heads, key heads, tied head."""
TOKENS_OF_A_LINE = 10
"""Of Python, by the tokenizers of these models: about so many."""


class Shape(Policy):
    """A policy that has no weights, on a GPU that need not be there."""

    @property
    def device(self) -> torch.device:
        """Where it would run."""
        return torch.device("cuda")


class SharedShape(Shape):
    """One of whose weights each rank holds a share."""

    @property
    def is_sharded(self) -> bool:
        """It is."""
        return True


def shape(name: str, lora: LoraSettings | None = None, kind: type[Shape] = Shape) -> Shape:
    """The policy of a model in bfloat16."""
    architecture, vocabulary, width, inner, layers, heads, key_heads, tied = SHAPES[name]
    config = AutoConfig.for_model(
        architecture, vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads, tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    spaces: Any = SimpleNamespace(words=torch.empty(vocabulary, device="meta"))
    syntax: Any = None
    return kind(model, None, syntax, spaces, name, torch.bfloat16, lora=Lora(lora, 0) if lora else None)


def memory_table(counts: list[int]) -> None:
    """Prints GB at the peak: every rank with all weights, with its share, and one rank with an adapter."""
    many = [count for count in counts if count > 1]
    print(f"| model | adapter, rank 64 | all weights | {' | '.join(f'shares of {n}' for n in many)} |")
    print("|---" * (3 + len(many)) + "|")
    for name in SHAPES:
        one = Config(update=UpdateSettings(checkpoint_activations=True))
        cells = [peak(shape(name, LoraSettings(rank=64)), one, 1), peak(shape(name), one, 1)]
        for count in many:
            lanes = one.model_copy(update={"run": RunSettings(lanes=count)})
            cells.append(peak(shape(name, kind=SharedShape), lanes, count))
        print(f"| {name} | {' | '.join(f'{cell:,.0f}' for cell in cells)} |")


def peak(policy: Policy, config: Config, count: int) -> float:
    """GB that the fullest of `count` ranks holds at its peak."""
    with patch.object(ranks, "count", lambda: count), patch.object(memory, "machine_bytes", lambda device: 0.0):
        return memory.memory_plan(policy, config, "midtrain").peak / 1e9


@dataclass(frozen=True)
class Cost:
    """Operations, and the passes over all weights that sampling makes."""

    operations: float
    passes: float

    def seconds(self, given: argparse.Namespace, read: float) -> float:
        """On so many GPUs, where a pass of sampling reads so many bytes."""
        return self.operations / (given.gpus * given.peak * given.share) + self.passes * read / given.bandwidth


def costs(policy: Policy, config: Config, gpus: int) -> dict[str, Cost]:
    """What each part of a mid-training costs."""
    estep, tokens, length = config.midtrain.estep, config.midtrain.mstep.tokens, config.corpus.max_tokens
    learning = 2 + (policy.lora.num_parameters(policy.model) / policy.num_parameters if policy.lora else 1)

    def operations(count: float) -> float:
        return forward_flops(policy, torch.full((1,), length), length) * count / length

    def passes(rows: float) -> float:
        at_once = min(rows, gpus * MAX_RUNNING_ROWS["cuda"])
        return rows / at_once * (length / TOKENS_OF_A_LINE) * (1 + 0.4 * estep.max_latent_tokens / 2)

    rollouts, updates = estep.documents * estep.group_size, estep.updates or 0
    return {
        "E-step": Cost(updates * operations(rollouts * length) * (1 + learning), updates * passes(rollouts)),
        "annotation": Cost(0.0, passes(tokens / length)),
        "M-step": Cost(operations(tokens) * learning, 0.0),
    }


def cost_table(given: argparse.Namespace) -> None:
    """Prints hours and dollars of a recipe's mid-training."""
    config = load([str(given.recipe)])
    (name,) = [name for name in SHAPES if config.model.path.endswith(name)]
    policy = shape(name, config.model.lora if config.model.lora.rank else None)
    print("| | operations | passes of sampling | hours | dollars |\n|---|---|---|---|---|")
    text, total = policy.model.config, 0.0
    kept = 4.0 * text.num_hidden_layers * text.num_key_value_heads * text.hidden_size / text.num_attention_heads
    read = 2.0 * policy.num_parameters + MAX_RUNNING_ROWS["cuda"] * config.corpus.max_tokens / 2 * kept
    for part, cost in costs(policy, config, given.gpus).items():
        hours = cost.seconds(given, read) / 3600
        total += hours
        money = hours * given.gpus * given.dollars
        print(f"| {part} | {cost.operations:.2g} | {cost.passes:,.0f} | {hours:.2f} | {money:,.0f} |")
    print(f"| together | | | {total:.2f} | {total * given.gpus * given.dollars:,.0f} |")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("memory").add_argument("--ranks", type=int, nargs="+", default=[1, 8, 16])
    cost = acts.add_parser("cost")
    cost.add_argument("recipe", type=Path)
    cost.add_argument("--gpus", type=int, default=8)
    cost.add_argument("--peak", type=float, default=989e12, help="operations a second of a GPU in bfloat16")
    cost.add_argument("--bandwidth", type=float, default=3.35e12, help="bytes a second of its memory")
    cost.add_argument("--share", type=float, default=0.4, help="of the peak that learning reaches")
    cost.add_argument("--dollars", type=float, default=2.5, help="a GPU and hour")
    given = parser.parse_args()
    memory_table(given.ranks) if given.act == "memory" else cost_table(given)


if __name__ == "__main__":
    main()
