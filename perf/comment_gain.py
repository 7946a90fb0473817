"""What a model's own comments are worth to it on held-out code: where it thinks, what it gains, how it reads.

    python perf/comment_gain.py MODEL [--files 40] [--places 64] [--dtype bfloat16]

Files of Python's standard library whose path has a SHA-1 divisible by 8; of each one window of 384 tokens, drawn by the
seed. Places are drawn in proportion to P("#"), two comments each by the model itself, of at most 12 tokens. Gain: nats
on the next three lines given the comment, less those given act. Intervals: bootstrap over places, 95%.
"""

import argparse
import hashlib
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch

from ra3.config.settings import EstepSettings, UpdateSettings
from ra3.data.documents import Document
from ra3.data.latents import EncodedDocument, encode
from ra3.em.annotate import comment_texts
from ra3.em.by_place import comment_gains, step_scores
from ra3.measure.statistics import bootstrap
from ra3.model.policy import Policy
from ra3.rollout.interleave import expert_rows
from ra3.run.ledger import Ledger

ESTEP = EstepSettings(group_size=2, horizon=3, max_latent_tokens=12, format_penalty=0.0)


def heldout_windows(policy: Policy, count: int) -> Iterator[EncodedDocument]:
    """One window of each of the first `count` held-out files."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_bytes().decode("utf-8", "replace")
        held = int(hashlib.sha1(name.encode()).hexdigest(), 16) % 8 == 0
        if not held or {"test", "tests", "site-packages"} & set(path.parts):
            continue
        windows = encode(policy.syntax, Document(name, text), max_tokens=384)
        full = [w for w in windows if any(w.openings) and len(w.step_ids) > 8] if isinstance(windows, list) else []
        if full and count:
            yield random.Random(name).choice(full)
            count -= 1


def drawn_places(think: torch.Tensor, count: int) -> list[tuple[int, int]]:
    """`count` (window, step) by systematic sampling in proportion to P(think) [D,S]; one drawn twice counts twice."""
    ends = think.flatten().double().cumsum(0)
    marks = (torch.arange(count) + 0.5) * ends[-1] / count
    return [divmod(int(i), think.shape[1]) for i in torch.searchsorted(ends, marks)]


def main() -> None:
    """Prints the measures and some comments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    given = parser.parse_args()
    policy = Policy.load(given.model, "pretrained", getattr(torch, given.dtype), torch.device("cpu"), 0)
    windows, update, ledger = list(heldout_windows(policy, given.files)), UpdateSettings(), Ledger()
    plain = step_scores(policy, expert_rows(policy, windows, decisions=True), update, ledger)
    may = sum(sum(map(bool, w.openings)) for w in windows)
    think = 1 - plain.log_act.exp()
    places = drawn_places(think, given.places)
    rows, gain = comment_gains(policy, policy, windows, places, plain, ESTEP, update, 0, ledger)
    comments = [comment_texts(policy, rows, r, rows.num_steps)[places[r // 2][1]] or "" for r in range(len(rows))]
    words = [len(re.findall(r"[A-Za-z]{2,}", comment)) for comment in comments]
    print(f"{len(windows)} files, {may} boundaries; thinks at {100 * float(think.sum()) / may:.1f}% of them")
    for name, values in (("gain", gain.mean(1)), ("best of two", gain.max(1).values)):
        own = bootstrap(values.tolist(), 0)
        print(f"{name}: {own.mean:.2f} nats [{own.low:.2f}, {own.high:.2f}]")
    print(f"help: {100 * float((gain > 0).float().mean()):.0f}%; words: {sum(words) / len(words):.1f}")
    for r in range(0, len(rows), max(1, len(rows) // 12)):
        print(f"{float(gain.flatten()[r]):6.1f}  {comments[r].rstrip()}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
