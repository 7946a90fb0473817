"""What a model's own comments are worth to it on held-out code: where it thinks, what it gains, how it reads.

    python perf/comment_gain.py MODEL [MODEL ...] [--files 40] [--places 64] [--comments 2] [--rollouts 0]
        [--corpus FILE] [--people FILE] [--json FILE] [--dtype bfloat16]

Files that a run with seed 0 holds out of Python's standard library, or those of a corpus; of each one window of 384
tokens, drawn by the seed. Places are drawn in proportion to P("#"), two comments each by the model itself, of at most
12 tokens. Gain: nats on the next three lines given the comment, less those given act; of people's comments, too, where
a file has some that stand on a line alone. A comment is code if it can be read as more than a name, copied if its words
stand in its file in this order, an echo if another of the same file says the same. Where it thinks: mean P("#") by the
column of the line, in front of the first line of a block, and of what costs most, given act. Bits per byte of the
windows, without comments and, by the importance-weighted bound over K rollouts whose decisions and words are its own,

    log p(a) >= E log 1/K sum_k prod_t pi(a_t | s_t, z_t^k),   z^k ~ pi,

the latter less the bits of the first model without comments; of several models the first has no bound. Intervals:
bootstrap over places or files, 95%.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from real_evidence import comment_lines, lines_of

from ra3.commands.inputs import read_corpus
from ra3.config.settings import Config, CorpusSettings, EstepSettings, UpdateSettings
from ra3.data.documents import Document, split_heldout
from ra3.data.latents import EncodedDocument, encode, indentation
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
    parser.add_argument("--comments", type=int, default=ESTEP.group_size, help="at each place")
    parser.add_argument("--rollouts", type=int, default=0, help="K of the bound; 0: none")
    parser.add_argument("--corpus", type=Path, help="all of its rows; default: files held out of the standard library")
    parser.add_argument("--people", type=Path, help="rows with comments that people wrote, to measure, too")
    parser.add_argument("--json", type=Path, help="where the measures are added, a line each")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    given = parser.parse_args()
    heldout, first = documents(given.corpus) if given.corpus else heldout_of_library(), None
    for model in given.models:
        policy = Policy.load(model, "pretrained", getattr(torch, given.dtype), torch.device("cpu"), 0)
        windows = list(heldout_windows(policy, heldout, given.files))
        sizes = torch.tensor([len(w.document.text[w.places[0] :].encode()) * math.log(2) for w in windows])
        plain = step_scores(policy, expert_rows(policy, windows, decisions=True), UpdateSettings(), Ledger())
        print(f"\n{model}")
        told = Told(model, given.json)
        bits = -plain.logp.sum(1) / sizes
        first = bits if first is None else first
        told.mean("bits per byte", bits, 4)
        rollouts = given.rollouts if len(given.models) == 1 or model != given.models[0] else 0
        if rollouts:
            bound = -likelihood_bound(policy, windows, rollouts) / sizes
            told.mean(f"its bound by {rollouts} rollouts", bound, 4)
        for name, own in (("bits", bits), *([("bound", bound)] if rollouts else [])):
            told.mean(f"{name} less the first model's bits", own - first, 4)
        show_gains(told, policy, windows, plain, given.places, given.comments)
        if given.people:
            told.mean("gain of people's comments, nats", people_gains(policy, documents(given.people), given.places))


def documents(file: Path) -> list[Document]:
    """All rows of a corpus."""
    return list(read_corpus(Config(corpus=CorpusSettings(path=str(file), filter=False))).documents)


def heldout_of_library() -> Sequence[Document]:
    """What a run with seed 0 holds out of the standard library."""
    corpus = read_corpus(Config(corpus=CorpusSettings(path="stdlib")))
    return split_heldout(corpus.documents, CorpusSettings().heldout, seed=0)[1]


class Told:
    """Prints measures, and adds them to a file of JSON lines."""

    def __init__(self, model: Path, file: Path | None):
        self.model, self.file = str(model), file

    def mean(self, name: str, values: torch.Tensor, digits: int = 2) -> None:
        """A mean with its interval."""
        own = bootstrap(values.tolist(), 0)
        print(f"{name}: {own.mean:.{digits}f} [{own.low:.{digits}f}, {own.high:.{digits}f}] of {len(values)}")
        self.number(name, own.mean, {"low": own.low, "high": own.high, "count": len(values)})

    def number(self, name: str, value: float, beside: Mapping[str, Any] | None = None) -> None:
        """Adds a number to the file."""
        if self.file:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"model": self.model, "measure": name, "mean": value, **(beside or {})}) + "\n")


def likelihood_bound(policy: Policy, windows: Sequence[EncodedDocument], rollouts: int) -> torch.Tensor:
    """[D] nats, the importance-weighted bound on log p of each window."""
    seeds = [derive(0, "bound", w.id, k) for w in windows for k in range(rollouts)]
    rows = interleave(policy, windows, rollouts, LatentRules(ESTEP.max_latent_tokens), seeds)
    scores = score(policy, rows, rows.expert, UpdateSettings().micro_batch_tokens)
    logp = step_logp(scores.logp, scores.logp_action, rows).sum(1).unflatten(0, (-1, rollouts))
    return logp.logsumexp(1) - math.log(rollouts)


def show_gains(
    told: Told, policy: Policy, windows: Sequence[EncodedDocument], plain: StepScores, count: int, comments: int
) -> None:
    """Print what the model's own comments gain where it thinks, and some of them."""
    settings = ESTEP.model_copy(update={"group_size": comments})
    may = sum(sum(map(bool, w.openings)) for w in windows)
    think = 1 - plain.log_act.exp()
    places = drawn_places(think, count)
    rows, gain = comment_gains(policy, policy, windows, places, plain, settings, UpdateSettings(), 0, Ledger())
    texts = [comment_texts(policy, rows, r, rows.num_steps)[0] or "" for r in range(len(rows))]
    words = [len(re.findall(r"[A-Za-z]{2,}", text)) for text in texts]
    shares = {
        "thinks, % of the boundaries": float(think.sum()) / may,
        "help, %": float((gain > 0).float().mean()),
        "code, %": sum(map(is_code, texts)) / len(texts),
        "copied, %": share_copied(texts, [windows[d] for d, _ in places for _ in range(comments)]),
        "echo, %": share_echoing(texts, [d for d, _ in places for _ in range(comments)]),
    }
    print(f"{len(windows)} files, {may} boundaries; words a comment: {sum(words) / len(words):.1f}")
    told.number("words", sum(words) / len(words))
    for name, share in {**shares, **where_it_thinks(windows, plain)}.items():
        print(f"{name}: {100 * share:.1f}")
        told.number(name, 100 * share)
    used = Counter(word for text in texts for word in re.findall(r"[a-z]{3,}", text.lower()))
    told.number("said most", len(used), {"text": ", ".join(word for word, _ in used.most_common(8))})
    told.mean("gain, nats", gain.mean(1))
    told.mean(f"best of {comments}, nats", gain.max(1).values)
    for r in range(0, len(rows), max(1, len(rows) // 12)):
        print(f"{float(gain.flatten()[r]):6.1f}  {texts[r].rstrip()}")


def where_it_thinks(windows: Sequence[EncodedDocument], plain: StepScores) -> dict[str, float]:
    """Mean P(think) of boundaries of a kind."""
    found, think, costs = defaultdict[str, list[float]](list), 1 - plain.log_act.exp(), plain.log_act - plain.logp
    may = [(d, t) for d, window in enumerate(windows) for t, opening in enumerate(window.openings) if opening]
    dear = torch.stack([costs[at] for at in may]).quantile(0.75)
    for d, t in may:
        text, place = windows[d].document.text, windows[d].places[t]
        column = len(indentation(text, place))
        starts = text[: place - column].rstrip().endswith(":")
        kinds = {
            "column 0 to 4": column < 5, "column 5 to 8": 5 <= column < 9, "column 9 and more": column >= 9,
            "a block's first": starts, "the dearest quarter": bool(costs[d, t] > dear),
        }  # fmt: skip
        for kind in (kind for kind, holds in kinds.items() if holds):
            found[f"thinks before lines: {kind}, %"].append(float(think[d, t]))
    return {kind: sum(rates) / len(rates) for kind, rates in sorted(found.items())}


def is_code(comment: str) -> bool:
    """Whether a comment can be read as Python that is more than names: ``# x = 1``, not ``# done``."""
    try:
        (line,) = ast.parse(comment.lstrip("#").strip()).body
    except (SyntaxError, ValueError):
        return False
    return not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Name | ast.Constant | ast.Tuple))


def share_copied(comments: Sequence[str], windows: Sequence[EncodedDocument]) -> float:
    """Share of the comments, of two words or more, whose words stand in their window in this order."""

    def words(text: str) -> str:
        return " ".join(re.findall(r"[a-z0-9]+", text.lower()))

    pairs = [(words(comment), words(w.document.text)) for comment, w in zip(comments, windows, strict=True)]
    return sum(" " in own and own in text for own, text in pairs) / len(pairs)


def share_echoing(comments: Sequence[str], window: Sequence[int]) -> float:
    """Share of the comments that another place or draw of the same window has, too."""
    pairs = list(zip(window, comments, strict=True))
    return sum(pairs.count(pair) > 1 for pair in pairs) / len(pairs)


def people_gains(policy: Policy, texts: Sequence[Document], count: int) -> torch.Tensor:
    """[P] nats that people's comments, one line each, gain at `count` places drawn by chance, or as many as there
    are."""
    found = [pair for document in texts for pair in written_comments(policy, document)]
    own = random.Random(0).sample(found, min(count, len(found)))
    parts, latents = [part for part, _ in own], [{0: ids} for _, ids in own]
    act = step_scores(policy, expert_rows(policy, parts, decisions=True), UpdateSettings(), Ledger())
    given = step_scores(policy, expert_rows(policy, parts, latents=latents), UpdateSettings(), Ledger())
    return given.logp.sum(1) - (act.logp.sum(1) - act.log_act.sum(1))


def written_comments(policy: Policy, document: Document) -> Iterator[tuple[EncodedDocument, list[int]]]:
    """The steps behind each comment of one line in a document without its comments, and the ids of the comment."""
    lines, own = lines_of(document.text), comment_lines(document.text)
    bare = "".join(line for row, line in enumerate(lines) if row not in own)
    windows = encode(policy.syntax, replace(document, text=bare), max_tokens=384)
    if not isinstance(windows, list):
        return
    window = windows[0]
    for row in own:
        alone = row + 1 < len(lines) and lines[row + 1].strip() and not {row - 1, row + 1} & own
        place = sum(len(line) for r, line in enumerate(lines[: row + 1]) if r not in own)
        place += len(lines[row + 1]) - len(lines[row + 1].lstrip()) if alone else 0
        step = window.places.index(place) if alone and place in window.places else None
        if step and (opening := window.openings[step]):
            yield window.branch(step, ESTEP.horizon), policy.syntax.latent_ids(lines[row].strip() + "\n", opening)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
