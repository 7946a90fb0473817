"""How the cost of an interleaved rollout grows with the document: milliseconds per expert line against lines.

    python benchmarks/interleave_growth.py [--quick] [--documents 1] [--json FILE]

Beside it, in the same run, what one would write with transformers' `generate`: a call that reads the whole prefix again
for every line, and another where a line is given a comment. That loop is timed on a few evenly spaced lines of the
sampler's own rollouts. CPU time of one thread. Every line thinks with probability 0.3 or more, comments are cut at 8
tokens; the share that thought and the tokens per line are printed, because both are part of the cost.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from transformers import AutoConfig

from ra3.corpus import Document
from ra3.latents import EncodedDocument, encode
from ra3.policy import Policy
from ra3.rows import CONTEXT, DECISION, Rows
from ra3.sampler import LatentRules, interleave
from ra3.sources import testbed_model
from ra3.testbed import world

GROUP, FLOOR, COMMENT_TOKENS = 8, 0.3, 8
RULES = LatentRules(COMMENT_TOKENS, think_floor=FLOOR)
QWEN = {
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 12,
    "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 32768,
}  # fmt: skip
"""About 25 million parameters, two key heads for twelve query heads as in the small Qwen2 models."""


@dataclass(frozen=True)
class Point:
    """One line of the table."""

    model: str
    lines: int
    tokens_per_line: float
    """Expert and latent tokens."""
    think_rate: float
    ms_per_line: float
    """CPU milliseconds per line of one rollout, the median of the repeats."""
    spread: float
    """Largest over smallest repeat, less one."""
    loop_ms_per_line: float
    """The same for the loop over `generate`."""


def models(quick: bool) -> Iterator[tuple[str, Policy]]:
    """(name, policy) of each model."""
    cpu = torch.device("cpu")
    shipped = Policy.load(testbed_model(), "pretrained", torch.float32, cpu, 0)
    yield "shipped", shipped
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            shipped.tokenizer.save_pretrained(folder)
            ends = {"bos_token_id": shipped.start_id, "eos_token_id": shipped.end_id}
            size = {"vocab_size": shipped.spaces.comment_mask.numel()}
            AutoConfig.for_model("qwen2", **QWEN, **ends, **size).save_pretrained(folder)
            yield "random Qwen2, 25M", Policy.load(Path(folder), "random", torch.float32, cpu, 0)


def documents(policy: Policy, num_lines: int, count: int) -> list[EncodedDocument]:
    """`count` documents of `num_lines` lines of the embedded world."""
    lines = [line for d in world.documents("expert", 0, 80) for line in d.text.splitlines(keepends=True)]
    texts = ["".join(lines[i * num_lines : (i + 1) * num_lines]) for i in range(count)]
    found = [
        encode(policy.tokenizer, Document(f"{i}", text), policy.syntax, max_tokens=10**6)
        for i, text in enumerate(texts)
    ]
    good = [d for d in found if isinstance(d, EncodedDocument) and len(d.step_ids) == num_lines]
    assert len(good) == count, "the embedded world has no so many lines"
    return good


def cpu_s(action: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


@torch.no_grad()
def loop_line(policy: Policy, prefixes: list[list[int]], thinks: list[bool]) -> None:
    """One line of G rows with `generate`: decide from the whole prefix; those that think write a comment."""
    generate_with(policy, prefixes, 1)
    thinking = [[*p, policy.syntax.think_id] for p, think in zip(prefixes, thinks, strict=True) if think]
    if thinking:
        generate_with(policy, thinking, COMMENT_TOKENS)


def generate_with(policy: Policy, prompts: list[list[int]], num_tokens: int) -> None:
    """Samples on from `prompts`, padded on the left, until the line ends."""
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[policy.end_id] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    policy.model.generate(
        ids, attention_mask=mask, max_new_tokens=num_tokens, do_sample=True, pad_token_id=policy.end_id,
        eos_token_id=policy.syntax.newline_id,
    )  # fmt: skip


def loop_ms(policy: Policy, rows: Rows, num_lines: int, probes: int) -> float:
    """Mean CPU milliseconds per line and row of the loop, on `probes` lines from the first to the last."""
    at = sorted({round(i * (num_lines - 1) / (probes - 1)) for i in range(probes)})
    total = 0.0
    for line in at:
        ends = [int(((rows.seg[r] < line) & rows.valid[r]).sum()) for r in range(GROUP)]
        prefixes = [rows.ids[r, :end].tolist() for r, end in enumerate(ends)]
        thinks = [bool((rows.latent[r] & (rows.seg[r] == line)).any()) for r in range(GROUP)]
        total += cpu_s(lambda p=prefixes, t=thinks: loop_line(policy, p, t))
    return 1000 * total / len(at) / GROUP


def measure(name: str, policy: Policy, num_lines: int, count: int, repeats: int, probes: int) -> Point:
    """Both costs at one length."""
    found = documents(policy, num_lines, count)
    seeds = list(range(count * GROUP))
    rows = interleave(policy, found, GROUP, RULES, seeds)  # the warm-up
    times = [cpu_s(lambda: interleave(policy, found, GROUP, RULES, seeds)) for _ in range(repeats)]
    decided = rows.act & (rows.space == DECISION)
    read = int((rows.valid & (rows.seg != CONTEXT)).sum())
    return Point(
        model=name,
        lines=num_lines,
        tokens_per_line=read / len(rows) / num_lines,
        think_rate=float((decided & rows.latent).sum() / decided.sum()),
        ms_per_line=1000 * statistics.median(times) / len(rows) / num_lines,
        spread=max(times) / min(times) - 1,
        loop_ms_per_line=loop_ms(policy, rows, num_lines, probes),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the shipped model at 10, 50 and 200 lines")
    parser.add_argument("--documents", type=int, default=1, help="documents in a batch, 8 rollouts of each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    points: list[Point] = []
    costs = f"{'ms/line':>9}{'vs 10':>8}{'spread':>8}{'loop':>9}{'ratio':>7}"
    print(f"{'model':<19}{'lines':>6}{'tokens/line':>12}{'think':>7}{costs}")
    for name, policy in models(args.quick):
        first = None
        for num_lines in (10, 50, 200) if args.quick else (10, 20, 50, 100, 200):
            p = measure(name, policy, num_lines, args.documents, args.repeats, 3 if args.quick else 4)
            first = first or p.ms_per_line
            points.append(p)
            costs = f"{p.ms_per_line:>9.3f}{p.ms_per_line / first - 1:>+8.0%}{p.spread:>8.0%}{p.loop_ms_per_line:>9.2f}"
            ratio = f"{p.loop_ms_per_line / p.ms_per_line:>6.1f}x"
            print(f"{name:<19}{p.lines:>6}{p.tokens_per_line:>12.2f}{p.think_rate:>7.2f}{costs}{ratio}", flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(p) for p in points], indent=1) + "\n")


if __name__ == "__main__":
    main()
