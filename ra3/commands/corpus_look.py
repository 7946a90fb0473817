"""A corpus by a part of it: how many documents and tokens there are, found in seconds.

A large one is read as it is, without the rules of `corpus.filter` and without a search for what benchmarks hold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, stdev

from ra3.commands.inputs import read_corpus, train_and_heldout
from ra3.config.settings import Config
from ra3.data.functions import cut_at_functions
from ra3.data.latents import EncodedDocument, encode_all
from ra3.model.policy import Policy
from ra3.rollout.interleave import expert_rows
from ra3.rows import Rows
from ra3.worlds import WORLDS

READ_S = 1.5
"""Seconds for which documents are encoded; those that are left are taken to be like those read."""


@dataclass(frozen=True)
class CorpusLook:
    """A corpus by a part of it."""

    documents: list[EncodedDocument]
    """The part that was read, of all lengths."""
    num_read: int
    """Documents of the corpus in it; one may be several of the above."""
    num_all: int
    """Documents to train on."""
    num_heldout: int
    num_heldout_rows: int
    """Rows that the held-out documents are, by their characters."""
    summary: str
    """What was read and what became of it."""
    rows: Rows
    """The part as rows, with its decisions."""

    @property
    def scale(self) -> float:
        """How many times the part the whole is."""
        return self.num_all / self.num_read

    @property
    def num_rows(self) -> int:
        """Rows of the whole."""
        return round(len(self.documents) * self.scale)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row that was read."""
        return self.rows.length.tolist()

    @property
    def spread(self) -> float:
        """Standard error of the tokens of the whole, as a share of them."""
        sizes = self.rows.length.tolist()
        few = self.num_read < self.num_all and len(sizes) > 1
        return stdev(sizes) / mean(sizes) / math.sqrt(len(sizes)) if few else 0.0

    @property
    def ids(self) -> list[int]:
        """Some tokens of the text."""
        return [i for document in self.documents[:64] for step in document.step_ids for i in step]

    def text(self) -> str:
        """What there is, in one line."""
        about = "" if self.num_read == self.num_all else "about "
        steps = sum(len(document.step_ids) for document in self.documents) * self.scale
        tokens = float(self.rows.expert.sum()) * self.scale
        read = f" ({self.num_read} documents read: \u00b1 {self.spread:.0%})" if about else ""
        found = f"{self.num_all:,} documents, {about}{steps:,.0f} steps, {tokens:,.0f} expert tokens{read}"
        return f"{found}; {self.num_heldout} held out"


def look_at_corpus(config: Config, policy: Policy, whole: bool = False) -> CorpusLook:
    """Reads the corpus, `whole` as `read_corpus` does, and encodes a part of it: documents evenly spread over all
    lengths, for READ_S seconds."""
    own, run = config.corpus, config.run.model_copy(update={"benchmarks": ()})
    is_large = not whole and own.path not in WORLDS and not own.documents  # else the first documents are soon read
    corpus = read_corpus(config.model_copy(update={"run": run}), whole or is_large)
    train, heldout = train_and_heldout(config, corpus.documents)
    by_length, good, num_read = sorted(train, key=lambda document: len(document.text)), list[EncodedDocument](), 0
    start = time.perf_counter()
    for part in spread_parts(len(train)):
        for document in (by_length[i] for i in part):
            units = (is_large and own.unit == "function" and cut_at_functions(document)) or [document]
            good += encode_all(policy.syntax, units, own.steps, own.max_tokens)[0]
        num_read += len(part)
        if good and time.perf_counter() - start > READ_S:
            break
    summary = corpus.summary() + " (before the rules of corpus.filter)" * (is_large and own.filter)
    rows = expert_rows(policy, good, decisions=True)
    read, kept = (sum(len(d.text) for d in part) for part in ((own.document for own in good), heldout))
    num_heldout_rows = round(len(good) * kept / read) or bool(heldout)
    return CorpusLook(good, num_read, len(train), len(heldout), num_heldout_rows, summary, rows)


def spread_parts(count: int) -> Iterator[list[int]]:
    """All of 0 .. count - 1 in parts, each spread evenly over what those before it have left out."""
    stride, seen = max(1, count // 32), set[int]()
    while len(seen) < count:
        part = [i for i in range(stride // 2, count, stride) if i not in seen] if stride > 1 else []
        part = part or [i for i in range(count) if i not in seen]
        seen |= {*part}
        yield part
        stride //= 2
