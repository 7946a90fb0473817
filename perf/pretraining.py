"""Make a world's base model from nothing, on a CPU: ``python perf/pretraining.py word-problems --out DIR``.

A standard ``LlamaForCausalLM``, pre-trained in three stages: pages of single links, until looking a name up is learned
(it does not emerge from documents alone); pages of chains; documents with some drill pages mixed in. The loss covers a
page's text, never its context, which is random. Muon trains the matrices, AdamW the rest. Same seed, same weights. What
was measured on the way is in docs/lab-log.md.
"""

from __future__ import annotations

import argparse
import random
import time
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from ra3.data.tokens import start_ids, tokenize_text
from ra3.grading.derivation import facts_by_name, solution
from ra3.seeds import derive
from ra3.worlds import WORLDS, functions, look_ups, word_problems
from ra3.worlds.world import END, Level, World, page_lines

IGNORED = -100
OFFSETS = (1, 2, 3)
POINT = 4.0
THETA = 10000.0
CHAINS = (1, 2, 2, 3, 3)
"""Lengths of chains in drills, each as often as it stands here."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the base model."""

    seed: int = 0
    layers: int = 3
    width: int = 128
    heads: int = 4
    hidden: int = 256
    batch: int = 32  # pages per update
    links: int = 600  # most updates on single links, until their loss (nats per token) is below ``learned``
    chains: int = 1200  # most updates on chains, until their loss is below ``learned``
    learned: float = 0.02
    updates: int = 1500  # updates on documents
    drill_share: float = 0.2  # share of drill pages among the documents
    matrix_rate: float = 0.004
    other_rate: float = 0.002
    warmup: int = 20


OBSERVED = ("<information>", "<output>", "<error>")
SUMMARIES = 1 / 6

Part = tuple[str, bool]
"""Text of a page, and whether it carries loss."""
RECIPES = {
    "functions": Recipe(updates=500),
    "word-problems": Recipe(batch=12, learned=0.05, chains=300, updates=1800),
    "look-ups": Recipe(batch=8, links=100, chains=40, learned=0.1, updates=80),
}
"""Of the base model that ships with each world."""


def document_page(world: World, seed: int) -> list[Part]:
    """Make a page of the split "pretrain": its context, which carries no loss, and its text, which does."""
    level = world.levels["pretrain"]
    page = world.page(level, seed)
    lines, _ = page_lines(page, level.useless, world.useless)
    if world.tools:
        return with_observations("".join(lines), seed)
    return [(page.context, False), ("".join(lines) + END, True)]


def with_observations(text: str, seed: int) -> list[Part]:
    """Mark the lines of a page that tools write, which carry no loss unless a famous person is the subject. One page in
    six has a summary: at one of its ends, or before its first call. Empty lines are left out."""
    parts, rng = list[Part](), random.Random(derive(seed, "summary"))
    lines = [line for line in text.splitlines(keepends=True) if line.strip()]
    if rng.random() < SUMMARIES:
        lines = summarised(rng, lines)
    for number, line in enumerate(lines):
        subject = line.partition(">")[2].partition(" ")[0]
        given = line.startswith(OBSERVED) and subject not in look_ups.FAMOUS
        given = given or line.startswith("How ") or (number == 1 and line.startswith("<summary>"))
        tag = "<summary>" if line.startswith("<summary>") else ""  # whoever wants one writes the tag
        parts += [(tag, False), (line.removeprefix(tag).rstrip("\n"), not given), ("\n", True)]
    return [part for part in (*parts, (END, True)) if part[0]]


def summarised(rng: random.Random, lines: list[str]) -> list[str]:
    """Cut a page within its first question, where a summary is written of what was found; or go on behind that."""
    end = next((n for n, line in enumerate(lines) if line.startswith("<answer>")), len(lines))
    places = [n for n in range(1, end + 1) if lines[n - 1].startswith(("<information>", "<output>"))]
    if not places:
        return lines
    cut = rng.choice(places)
    thing = lines[0].split()[2]
    found = [line[13:].partition("<")[0] for line in lines[:cut] if line.startswith("<information>")]
    kept = " ".join(dict.fromkeys(text for text in found if text.endswith(f"{thing}.")))
    summary = f"<summary>{kept}</summary>\n"
    return [*lines[:cut], summary] if rng.random() < 0.5 else [lines[0], summary, *lines[cut:]]


def drill_functions(seed: int, lengths: tuple[int, ...], entries: int = 16) -> list[Part]:
    """Make a page to drill look-ups: a glossary, then many of its chains spelled out.

    An entry reads ``    # ba ke zu evens``, as in a function. Which chain comes next is random, so only what follows
    its first name counts.
    """
    rng = random.Random(seed)
    chains = functions.draw_chains(rng, Level(lengths, tuple(functions.BY_NAME), (2, 4)))[0]
    starts = [chain[at:] for chain in chains for at in range(len(chain) - 1)]
    parts = [(functions.glossary(rng, chains), False)]
    for chain in (rng.choice(starts) for _ in range(entries)):
        opening = f"# {chain[0]}"
        parts += [(f"    {opening}", False), (functions.comment_line(chain).removeprefix(opening), True)]
    return parts


def drill_word_problems(seed: int, lengths: tuple[int, ...], entries: int = 16) -> list[Part]:
    """Make a page to drill look-ups: facts, then many of their chains spelled out, in turn with the first step of some
    chain where lengths differ.

    Which chain comes next is random, so only what follows its first name counts. With facts that branch off, or fewer
    chains, look-ups are not learned (docs/lab-log.md).
    """
    drawn = word_problems.page(Level(lengths, word_problems.OLD + word_problems.NEW, (4, 6), unused=(0, 0)), seed)
    facts, chains = facts_by_name(drawn.context.splitlines()), [exercise.chain for exercise in drawn.exercises]
    rng = random.Random(drawn.seed)
    starts = [chain[at:] for chain in chains for at in range(len(chain) - 1)]
    steps = [solution(facts, chain[-2])[0] for chain in chains]
    taught = [step for step in steps if step.fact.relation in word_problems.OLD] if len(set(lengths)) > 1 else []
    parts = [(drawn.context, False)]
    for number in range(entries):
        chain = rng.choice(starts)
        line, opening = word_problems.plan_line(chain, facts), f"# {chain[0]}"
        if number % 2 and taught:
            step = rng.choice(taught)
            line, opening = step.sentence, f"The {step.fact.name}"
        parts += [(opening, False), (line.removeprefix(opening), True)]
    return parts


def drill_look_ups(seed: int, lengths: tuple[int, ...]) -> list[Part]:
    """Make a page to drill careful answers to questions about one or two people."""
    most = max(look_ups.LEVELS["pretrain"].lengths)
    level = replace(look_ups.LEVELS["expert"], lengths=tuple(length for length in lengths if length <= most))
    lines, _ = page_lines(look_ups.page(replace(level, exercises=(2, 4)), seed), 0.0, ())
    return with_observations("".join(lines), seed)


DRILLS = {"functions": drill_functions, "word-problems": drill_word_problems, "look-ups": drill_look_ups}
"""Each makes a page of look-ups from a seed and the lengths of its chains."""


def new_model(recipe: Recipe, tokenizer: Any) -> LlamaForCausalLM:
    """Make the model before its first update."""
    end, seed = tokenizer.eos_token_id, derive(recipe.seed, "weights")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=recipe.hidden,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=2048, tie_word_embeddings=True, initializer_range=0.02, attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    _start_attention(model, torch.Generator().manual_seed(seed))
    return model


@torch.no_grad()
def _start_attention(model: Any, generator: torch.Generator) -> None:
    """Starts attention as matching and copying: Q = K and O = V^T per head (orthonormal), three heads looking back."""
    weights = model.get_input_embeddings().weight
    weights.copy_(torch.randn(weights.shape, generator=generator) / weights.shape[1] ** 0.5)
    for depth, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        size, width = attention.head_dim, weights.shape[1]
        for head in range(width // size):
            rows = slice(head * size, (head + 1) * size)
            match, copy = (torch.linalg.qr(torch.randn(width, size, generator=generator))[0].T for _ in range(2))
            attention.v_proj.weight[rows], attention.o_proj.weight[:, rows] = copy, 0.2 * copy.T
            if depth == 0 and head < len(OFFSETS):
                _look_back(attention, head, OFFSETS[head])
            else:
                attention.q_proj.weight[rows], attention.k_proj.weight[rows] = match, match


def _look_back(attention: Any, head: int, offset: int) -> None:
    """Makes a head look ``offset`` tokens back: biases whose rotary phase difference peaks there, nowhere nearer."""
    size = attention.head_dim
    angles = offset * THETA ** (-torch.arange(0, size, 2) / size)
    rows = slice(head * size, (head + 1) * size)
    attention.k_proj.bias[rows] = POINT * torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
    attention.q_proj.bias[rows] = POINT * torch.cat([torch.cos(angles), -torch.sin(angles)])


class Trainer:
    """The model, its optimisers and the pages of its world."""

    def __init__(self, world: World, recipe: Recipe):
        self.world, self.recipe, self.tokenizer = world, recipe, world.tokenizer()
        self.start_ids = start_ids(self.tokenizer)
        self.drill_page = DRILLS[world.name]
        self.model = new_model(recipe, self.tokenizer)
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
        others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=recipe.other_rate, weight_decay=0.0, betas=(0.9, 0.95)),
        ]
        self.began = time.monotonic()

    def train(self) -> None:
        """Run the three stages."""
        self.drill("links", self.recipe.links, (1,))
        self.drill("chains", self.recipe.chains, CHAINS)
        self.read()

    def drill(self, stage: str, most: int, lengths: tuple[int, ...]) -> None:
        """Make updates on drill pages whose chains have these lengths, until they are learned."""
        recent = 1.0
        for number in range(most):
            seeds = [derive(self.recipe.seed, stage, number, row) for row in range(self.recipe.batch)]
            pages = [self.drill_page(seed, lengths) for seed in seeds]
            recent = 0.9 * recent + 0.1 * self.update(stage, number, pages, min(1.0, (number + 1) / self.recipe.warmup))
            if recent < self.recipe.learned:
                break

    def read(self) -> None:
        """Make updates on documents and some drill pages; the learning rates fall to zero over the last half."""
        recipe, world = self.recipe, self.world
        for number in range(recipe.updates):
            rng = random.Random(derive(recipe.seed, "read", number))
            seeds = [derive(recipe.seed, "page", number, row) for row in range(recipe.batch)]
            drills = [rng.random() < recipe.drill_share for _ in seeds]
            draws = zip(seeds, drills, strict=True)
            pages = [self.drill_page(seed, CHAINS) if drill else document_page(world, seed) for seed, drill in draws]
            self.update("read", number, pages, min(1.0, 2.0 * (1 - number / recipe.updates)))

    def update(self, stage: str, number: int, pages: list[list[Part]], scale: float) -> float:
        """Make one update at ``scale`` times the base learning rates; return the loss before it."""
        loss = self.loss(pages)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("full_rate", group["lr"])
                group["lr"] = group["full_rate"] * scale
            optimizer.step()
            optimizer.zero_grad()
        if number % 10 == 0:
            print(f"{stage:6} {number:5} loss {loss:.4f}  {time.monotonic() - self.began:6.0f} s", flush=True)
        return loss.item()

    def loss(self, pages: list[list[Part]]) -> torch.Tensor:
        """Mean cross-entropy in nats (a scalar) over tokens of parts that count, each page tokenised as a whole."""
        rows, labels = [], []
        for parts in pages:
            tokens = tokenize_text(self.tokenizer, "".join(text for text, _ in parts))
            ends = list(accumulate(len(text) for text, _ in parts))
            counts = [parts[bisect_right(ends, start)][1] for start in tokens.starts]
            rows.append(torch.tensor([*self.start_ids, *tokens.ids]))
            own = (i if counted else IGNORED for i, counted in zip(tokens.ids, counts, strict=True))
            labels.append(torch.tensor([*[IGNORED] * len(self.start_ids), *own]))
        ids = pad_sequence(rows, batch_first=True, padding_value=self.model.config.pad_token_id or 0)
        targets = pad_sequence(labels, batch_first=True, padding_value=IGNORED)[:, 1:]
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        counted = targets != IGNORED
        return torch.nn.functional.cross_entropy(self.model.lm_head(hidden[counted]), targets[counted])


def main() -> None:
    """Train a world's base model and write a standard Hugging Face folder."""
    parser = argparse.ArgumentParser(description="Train the base model of an embedded world.")
    parser.add_argument("world", choices=list(WORLDS))
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for name in ("seed", "layers", "batch", "links", "chains", "updates"):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS, help="in place of the world's own")
    given = vars(parser.parse_args())
    torch.set_num_threads(1)
    world, out = given.pop("world"), given.pop("out")
    trainer = Trainer(WORLDS[world], replace(RECIPES[world], **given))
    trainer.train()
    trainer.model.save_pretrained(out)
    trainer.tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
