"""How the cost of an interleaved rollout grows with the document: milliseconds per expert line against lines.

    python perf/interleave_growth.py [--models shipped 25M 0.1B] [--documents 1] [--repeats 3] [--json FILE]

Every length reads lines of the same text: one document of 200 lines is cut into parts of 10, 20, 50, 100 and 200 lines.
Latents are the same everywhere too: each line thinks with probability 0.3 and writes 8 tokens, whatever the model would
rather do. The lengths take turns, and the least CPU time of the repeats counts, because other processes only add to it.
Beside it: how the multiplications grow, counted; and, in the same run, what one would write with transformers'
`generate`: a call that reads the whole prefix again for every line, and another where a line is given a comment. That
loop is timed on a few evenly spaced lines of the sampler's own rollouts, with the library's own model and attention,
and gets the same rows at once: 8 rollouts of one document, or with `--documents 16` those of 16, an E-step's batch.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from random_models import QWEN2, save_config
from torch import Tensor
from transformers import AutoModelForCausalLM

from ra3.data.documents import BadRow, Document
from ra3.data.latents import EncodedDocument, encode
from ra3.model.policy import Policy
from ra3.rollout.interleave import LatentRules, interleave
from ra3.rows import Rows
from ra3.worlds import WORLDS
from ra3.worlds.functions import world

GROUP, COMMENT_TOKENS, LONGEST = 8, 8, 200
RULES = LatentRules(COMMENT_TOKENS, think_floor=0.3)
LENGTHS = (10, 20, 50, 100, 200)


class EvenPolicy(Policy):
    """A policy that wants to think nowhere, so that the floor alone decides, and whose comments never end early."""

    @classmethod
    def of(cls, policy: Policy) -> "EvenPolicy":
        even = cls(**{f.name: getattr(policy, f.name) for f in fields(policy)})
        return even

    def logits(self, hidden: Tensor, learning: bool = False) -> Tensor:
        logits = super().logits(hidden, learning)
        logits[..., [*self.syntax.think_ids, *self.syntax.break_ids]] -= 30
        return logits


@dataclass(frozen=True)
class Point:
    """One line of the table."""

    model: str
    lines: int
    tokens_per_line: float
    """Expert and latent tokens."""
    ms_per_line: float
    """CPU milliseconds per line of one rollout, the least of the repeats."""
    growth: float
    """The same over that of the shortest length, less one."""
    multiplications: float
    """Growth of the multiplications: matrices, and attention to the mean prefix."""
    loop_ms_per_line: float | None
    """Milliseconds for the loop over `generate`, where it was timed."""


def load(name: str) -> EvenPolicy:
    """The shipped model, or one of random weights with its tokenizer."""
    cpu = torch.device("cpu")
    shipped = Policy.load(WORLDS["functions"].model, "pretrained", torch.float32, cpu, 0)
    if name == "shipped":
        return EvenPolicy.of(shipped)
    with tempfile.TemporaryDirectory() as folder:
        save_config("qwen2", QWEN2[name], Path(folder))
        return EvenPolicy.of(Policy.load(Path(folder), "random", torch.float32, cpu, 0))


def parts(policy: Policy, length: int, most_lines: int) -> list[EncodedDocument]:
    """Evenly spaced parts of `length` lines of one document of 200 lines, together about `most_lines`, at least one."""
    lines = [line for d in world.documents("expert", 0, 20) for line in d.text.splitlines(keepends=True)]
    found = encode(policy.syntax, Document("0", "".join(lines[:LONGEST])), max_tokens=10**6)
    assert not isinstance(found, BadRow) and len(found[0].step_ids) == LONGEST
    whole = found[0]
    there = LONGEST // length
    count = min(there, max(1, most_lines // length))
    starts = [there * i // count * length for i in range(count)]
    ends = [(a, a + length) for a in starts]
    return [replace(whole, step_ids=whole.step_ids[a:b], openings=whole.openings[a:b], cut=True) for a, b in ends]


def cpu_s(action: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def roll(policy: Policy, batches: list[list[EncodedDocument]]) -> list[Rows]:
    """8 rollouts of each document, one batch at a time."""
    return [interleave(policy, batch, GROUP, RULES, list(range(len(batch) * GROUP))) for batch in batches]


def batches_of(documents: list[EncodedDocument], size: int) -> list[list[EncodedDocument]]:
    """The documents, `size` at a time; repeated where there are fewer."""
    if len(documents) < size:
        return [[documents[i % len(documents)] for i in range(size)]]
    return [documents[i : i + size] for i in range(0, len(documents) - size + 1, size)]


@torch.no_grad()
def loop_line(policy: Policy, model: Any, prefixes: list[list[int]], thinks: list[bool]) -> None:
    """One line of all rows with `generate`: decide from the whole prefix; those that think write a comment."""
    generate_with(policy, model, prefixes, 1)
    thinking = [[*p, policy.syntax.think_ids[0]] for p, think in zip(prefixes, thinks, strict=True) if think]
    if thinking:
        generate_with(policy, model, thinking, COMMENT_TOKENS)


def generate_with(policy: Policy, model: Any, prompts: list[list[int]], num_tokens: int) -> None:
    """Samples `num_tokens` on from `prompts`, padded on the left."""
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[policy.end_id] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    model.generate(
        ids, attention_mask=mask, max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=True,
        pad_token_id=policy.end_id,
    )  # fmt: skip


def library_model(policy: Policy) -> Any:
    """The same weights in a model that is the library's alone."""
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder))
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def loop_ms(policy: Policy, rows: Rows, num_lines: int, probes: int) -> float:
    """Mean CPU milliseconds per line and row of the loop, on `probes` lines from the first to the last."""
    at = sorted({round(i * (num_lines - 1) / (probes - 1)) for i in range(probes)})
    total = 0.0
    model = library_model(policy)
    for line in at:
        ends = [int(((rows.step[r] < line) & rows.valid[r]).sum()) for r in range(len(rows))]
        prefixes = [rows.ids[r, :end].tolist() for r, end in enumerate(ends)]
        thinks = [bool((rows.latent[r] & (rows.step[r] == line)).any()) for r in range(len(rows))]
        total += cpu_s(lambda p=prefixes, t=thinks: loop_line(policy, model, p, t))
    return 1000 * total / len(at) / len(rows)


def multiplications(policy: Policy, rows: Rows) -> float:
    """Per token: one for each weight, and 2 x width x layers for each token of the mean prefix."""
    config = policy.model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    prefix = float((rows.length.float() ** 2).sum() / rows.length.sum()) / 2
    return policy.num_parameters + 2 * config.num_attention_heads * head * config.num_hidden_layers * prefix


def measure(
    name: str, lengths: list[int], at_once: int, repeats: int, most_lines: int, loop_at: list[int]
) -> list[Point]:
    """All lengths of one model, taking turns."""
    policy = load(name)
    batches = {n: batches_of(parts(policy, n, most_lines), at_once) for n in lengths}
    roll(policy, batches[lengths[0]][:1])  # the warm-up
    best, rows = dict.fromkeys(lengths, float("inf")), {}
    for _ in range(repeats):
        for n in lengths:
            start = time.process_time()
            rows[n] = roll(policy, batches[n])
            seconds = time.process_time() - start
            best[n] = min(best[n], 1000 * seconds / sum(map(len, rows[n])) / n)
    counted = {n: multiplications(policy, rows[n][0]) for n in lengths}
    read = {n: sum(int((r.length - 1).sum()) for r in rows[n]) / sum(map(len, rows[n])) / n for n in lengths}
    first = lengths[0]
    return [
        Point(
            name, n, read[n], best[n], best[n] / best[first] - 1, counted[n] / counted[first] - 1,
            loop_ms(policy, rows[n][0], n, 3) if n in loop_at else None,
        )
        for n in lengths
    ]  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["shipped", *QWEN2], default=["shipped", *QWEN2])
    parser.add_argument("--lengths", nargs="+", type=int, choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--documents", type=int, default=1, help="documents whose rollouts are alive at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lines", type=int, default=LONGEST, help="lines per length and repeat, at least one part")
    parser.add_argument("--loop-at", nargs="*", type=int, default=[50], help="lengths at which the loop is timed too")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    points: list[Point] = []
    costs = f"{'ms/line':>9}{'growth':>8}{'counted':>9}{'loop':>9}{'ratio':>7}"
    print(f"{'model':<9}{'lines':>6}{'tokens/line':>12}{costs}")
    for name in args.models:
        for p in measure(name, args.lengths, args.documents, args.repeats, args.lines, args.loop_at):
            points.append(p)
            costs = f"{p.tokens_per_line:>12.2f}{p.ms_per_line:>9.3f}{p.growth:>+8.0%}{p.multiplications:>+9.0%}"
            if p.loop_ms_per_line:
                costs += f"{p.loop_ms_per_line:>9.2f}{p.loop_ms_per_line / p.ms_per_line:>6.1f}x"
            print(f"{p.model:<9}{p.lines:>6}{costs}", flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(p) for p in points], indent=1) + "\n")


if __name__ == "__main__":
    main()
