"""What a model's own comments are worth to it on held-out code: where it thinks, what it gains, how it reads.

    python perf/comment_gain.py MODEL [MODEL ...] [--files 40] [--places 64] [--rollouts 0] [--dtype bfloat16]

Files that a run with seed 0 holds out of Python's standard library; of each one window of 384 tokens, drawn by the
seed. Places are drawn in proportion to P("#"), two comments each by the model itself, of at most 12 tokens. Gain: nats
on the next three lines given the comment, less those given act. Bits per byte of the windows, without comments and, by
the importance-weighted bound over K rollouts whose decisions and words are the model's own,

    log p(a) >= E log 1/K sum_k prod_t pi(a_t | s_t, z_t^k),   z^k ~ pi,

the latter less the bits of the first model without comments; of several models the first has no bound. Intervals:
bootstrap over places or files, 95%.
"""

import argparse
import math
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ra3.commands.inputs import read_corpus
from ra3.config.settings import Config, CorpusSettings, EstepSettings, UpdateSettings
from ra3.data.documents import Document, split_heldout
from ra3.data.latents import EncodedDocument, encode
from ra3.em.annotate import comment_texts
from ra3.em.by_place import StepScores, comment_gains, step_scores
from ra3.measure.statistics import bootstrap
from ra3.model.action_spaces import step_logp
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.run.ledger import Ledger
from ra3.seeds import derive

ESTEP = EstepSettings(group_size=2, horizon=3, max_latent_tokens=12, format_penalty=0.0)


def heldout_windows(policy: Policy, heldout: Sequence[Document], count: int) -> Iterator[EncodedDocument]:
    """One window of each of the first `count` held-out files."""
    for document in heldout:
        windows = encode(policy.syntax, document, max_tokens=384)
        full = [w for w in windows if any(w.openings) and len(w.step_ids) > 8] if isinstance(windows, list) else []
        if full and count:
            yield random.Random(document.id).choice(full)
            count -= 1


def drawn_places(think: torch.Tensor, count: int) -> list[tuple[int, int]]:
    """`count` (window, step) by systematic sampling in proportion to P(think) [D,S]; one drawn twice counts twice."""
    ends = think.flatten().double().cumsum(0)
    marks = (torch.arange(count) + 0.5) * ends[-1] / count
    return [divmod(int(i), think.shape[1]) for i in torch.searchsorted(ends, marks)]


def main() -> None:
    """Prints the measures and some comments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=0, help="K of the bound; 0: none")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    given = parser.parse_args()
    corpus = read_corpus(Config(corpus=CorpusSettings(path="stdlib")))
    _, heldout = split_heldout(corpus.documents, CorpusSettings().heldout, seed=0)
    first = None
    for model in given.models:
        policy = Policy.load(model, "pretrained", getattr(torch, given.dtype), torch.device("cpu"), 0)
        windows = list(heldout_windows(policy, heldout, given.files))
        sizes = torch.tensor([len(w.document.text[w.places[0] :].encode()) * math.log(2) for w in windows])
        plain = step_scores(policy, expert_rows(policy, windows, decisions=True), UpdateSettings(), Ledger())
        print(f"\n{model}")
        bits = -plain.logp.sum(1) / sizes
        first = bits if first is None else first
        show("bits per byte", bits, 4)
        rollouts = given.rollouts if len(given.models) == 1 or model != given.models[0] else 0
        if rollouts:
            bound = -likelihood_bound(policy, windows, rollouts) / sizes
            show(f"its bound by {rollouts} rollouts", bound, 4)
        for name, own in (("bits", bits), *([("bound", bound)] if rollouts else [])):
            show(f"{name} less the first model's bits", own - first, 4)
        show_gains(policy, windows, plain, given.places)


def likelihood_bound(policy: Policy, windows: Sequence[EncodedDocument], rollouts: int) -> torch.Tensor:
    """[D] nats, the importance-weighted bound on log p of each window."""
    seeds = [derive(0, "bound", w.id, k) for w in windows for k in range(rollouts)]
    rows = interleave(policy, windows, rollouts, LatentRules(ESTEP.max_latent_tokens), seeds)
    scores = score(policy, rows, rows.expert, UpdateSettings().micro_batch_tokens)
    logp = step_logp(scores.logp, scores.logp_action, rows).sum(1).unflatten(0, (-1, rollouts))
    return logp.logsumexp(1) - math.log(rollouts)


def show(name: str, values: torch.Tensor, digits: int = 2) -> None:
    """Print a mean with its interval."""
    own = bootstrap(values.tolist(), 0)
    print(f"{name}: {own.mean:.{digits}f} [{own.low:.{digits}f}, {own.high:.{digits}f}]")


def show_gains(policy: Policy, windows: Sequence[EncodedDocument], plain: StepScores, count: int) -> None:
    """Print what the model's own comments gain where it thinks, and some of them."""
    may = sum(sum(map(bool, w.openings)) for w in windows)
    think = 1 - plain.log_act.exp()
    places = drawn_places(think, count)
    rows, gain = comment_gains(policy, policy, windows, places, plain, ESTEP, UpdateSettings(), 0, Ledger())
    comments = [comment_texts(policy, rows, r, rows.num_steps)[0] or "" for r in range(len(rows))]
    words = [len(re.findall(r"[A-Za-z]{2,}", comment)) for comment in comments]
    print(f"{len(windows)} files, {may} boundaries; thinks at {100 * float(think.sum()) / may:.1f}% of them")
    show("gain, nats", gain.mean(1))
    show("best of two", gain.max(1).values)
    print(f"help: {100 * float((gain > 0).float().mean()):.0f}%; words: {sum(words) / len(words):.1f}")
    for r in range(0, len(rows), max(1, len(rows) // 12)):
        print(f"{float(gain.flatten()[r]):6.1f}  {comments[r].rstrip()}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
