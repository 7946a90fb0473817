"""Makes the base model that ships with the package: ``python -m ra3.testbed.base --out DIR``.

A standard ``LlamaForCausalLM``, pre-trained from nothing on one CPU core: first glossary drills until looking a name up
costs almost nothing (without them that skill does not emerge), then documents with some drills mixed in. The loss covers
a page's text, never its definitions, which are random. Muon trains the matrices, AdamW the rest. Same seed, same weights.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ra3.seeds import derive
from ra3.testbed.tokenizer import END, fast_tokenizer
from ra3.testbed.world import LEVELS, _lines, glossary, page

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the base model."""

    seed: int = 0
    layers: int = 3
    width: int = 128
    heads: int = 4
    hidden: int = 256
    batch: int = 32  # pages per update
    max_drills: int = 2000  # updates on drills alone, at most ...
    drilled: float = 0.02  # ... and until their loss (nats per token) falls below this
    updates: int = 3000  # updates on documents
    drill_share: float = 0.2  # share of drills among the documents
    matrix_rate: float = 0.004
    other_rate: float = 0.003
    warmup: int = 50


def config(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The model's standard configuration (embeddings tied, rotary positions)."""
    end = tokenizer.convert_tokens_to_ids(END)
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=recipe.hidden,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=2048, tie_word_embeddings=True, initializer_range=0.02,
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )


def document_page(split: str, seed: int) -> list[tuple[str, bool]]:
    """The page that ``seed`` makes, in parts: the context carries no loss, the text does."""
    drawn = page(LEVELS[split], seed)
    return [(drawn.context, False), ("".join(_lines(drawn, LEVELS[split].useless)[0]) + END, True)]


def encode(parts: list[tuple[str, bool]], tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Token ids and labels of one page; parts that do not count get the label ``IGNORED``."""
    ids, labels = [], []
    for text, counts in parts:
        piece = tokenizer(text)["input_ids"]
        ids += piece
        labels += piece if counts else [IGNORED] * len(piece)
    return ids, labels


def batch(pages: list[list[tuple[str, bool]]], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels (both rows x tokens), padded on the right; padding carries no loss."""
    rows = [encode(parts, tokenizer) for parts in pages]
    width = max(len(ids) for ids, _ in rows)
    end = tokenizer.convert_tokens_to_ids(END)
    ids = torch.tensor([ids + [end] * (width - len(ids)) for ids, _ in rows])
    return ids, torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows])


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the labelled tokens (a scalar)."""
    logits = model(ids, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.other_rate, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def update(model: LlamaForCausalLM, steppers: list[torch.optim.Optimizer], rows, scale: float) -> float:
    """One update at ``scale`` times the base learning rates; returns the loss before it."""
    loss = loss_of(model, *rows)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group.setdefault("full_rate", group["lr"])
            group["lr"] = group["full_rate"] * scale
        stepper.step()
        stepper.zero_grad()
    return loss.item()


def pages(recipe: Recipe, stage: str, number: int) -> list[list[tuple[str, bool]]]:
    """The pages of one update; documents come with ``drill_share`` drills."""
    rng = random.Random(derive(recipe.seed, "pages", stage, number))
    share = 1.0 if stage == "drill" else recipe.drill_share
    seeds = [derive(recipe.seed, "page", stage, number, row) for row in range(recipe.batch)]
    return [glossary(seed) if rng.random() < share else document_page("pretrain", seed) for seed in seeds]


def drill(model, steppers, tokenizer, recipe: Recipe, say) -> int:
    """Updates on glossary pages alone until the loss is below ``drilled``; returns how many it took."""
    recent = 1.0
    for number in range(recipe.max_drills):
        loss = update(model, steppers, batch(pages(recipe, "drill", number), tokenizer),
                      min(1.0, (number + 1) / recipe.warmup))
        recent = 0.9 * recent + 0.1 * loss
        say("drill", number, loss)
        if recent < recipe.drilled:
            return number + 1
    return recipe.max_drills


def read(model, steppers, tokenizer, recipe: Recipe, say) -> None:
    """Updates on documents; the learning rates fall to zero over the last half."""
    for number in range(recipe.updates):
        scale = min(1.0, 2.0 * (1 - number / recipe.updates))
        say("read", number, update(model, steppers, batch(pages(recipe, "read", number), tokenizer), scale))


def train(recipe: Recipe, say=lambda stage, number, loss: None) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The base model and its tokenizer."""
    tokenizer = fast_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(derive(recipe.seed, "weights"))
        model = LlamaForCausalLM(config(recipe, tokenizer))
    steppers = optimizers(model, recipe)
    drill(model, steppers, tokenizer, recipe, say)
    read(model, steppers, tokenizer, recipe, say)
    return model.eval(), tokenizer


def _say(stage: str, number: int, loss: float, start=time.monotonic()) -> None:
    if number % 50 == 0:
        print(f"{stage:5} {number:5} loss {loss:.4f}  {time.monotonic() - start:6.0f} s", flush=True)


def main() -> None:
    """Command line: trains the base and writes a standard Hugging Face folder."""
    parser = argparse.ArgumentParser(description="Train the embedded world's base model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=Recipe.updates)
    parser.add_argument("--layers", type=int, default=Recipe.layers)
    parser.add_argument("--width", type=int, default=Recipe.width)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = train(Recipe(arguments.seed, updates=arguments.updates, layers=arguments.layers,
                                    width=arguments.width), _say)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
