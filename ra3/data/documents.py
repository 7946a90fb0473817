"""What a corpus is made of: documents of expert text, what could not be used, and why.

``ra3.data.corpus`` reads them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ra3.errors import UserError
from ra3.seeds import derive


@dataclass(frozen=True)
class Truth:
    """The true intentions of a document, one entry for each, in order."""

    boundaries: tuple[int, ...]
    """The step at which the intention belongs."""
    chains: tuple[tuple[str, ...], ...]
    """The names it goes through: ``("ba", "ke", "zu", "evens")``."""
    comments: tuple[str, ...]
    """The intention as a line, written in the text or not: ``"# ba ke zu evens\\n"``."""

    def between(self, first: int, end: int) -> Truth:
        """Return the entries that belong to steps from ``first`` to before ``end``, counted from ``first``."""
        a, b = (bisect_left(self.boundaries, t) for t in (first, end))
        return Truth(tuple(t - first for t in self.boundaries[a:b]), self.chains[a:b], self.comments[a:b])


@dataclass(frozen=True)
class Document:
    """One piece of expert text: ``Document("pkg/mod.py", "x = 1\\n")``."""

    id: str
    """Stable and unique: ``pkg/mod.py`` or ``file.jsonl:12``."""
    text: str
    """Expert text, cut into steps."""
    context: str = ""
    """Prompt before the text: conditioned on, never annotated, carries no loss."""
    truth: Truth | None = None
    """Embedded worlds only."""
    origin: str = ""
    """The document that it is a piece of; "" where it is whole."""


@dataclass(frozen=True)
class BadRow:
    """A row or document that is not used: ``BadRow("train.jsonl:7", "'text' is missing (it has: code)")``."""

    where: str
    """``file:line``, or the id of a document."""
    reason: str
    rule: str = ""
    """The rule by which it was left out: "empty", "overlap" or one of ``ra3.data.filters``; "" where it is faulty."""


@dataclass(frozen=True)
class Corpus:
    """The documents of a corpus in their order, and what was not used."""

    documents: list[Document]
    quarantine: list[BadRow]
    sources: Counter[str] = field(default_factory=Counter)
    """How much was read: ``{"files": 1204}``."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was done to how many of them: ``{"licences cut off": 135}``."""

    @property
    def left_out(self) -> Counter[str]:
        """How many were left out by each rule, and how many are faulty."""
        return Counter(row.rule or "faulty" for row in self.quarantine)

    def summary(self) -> str:
        """Say in a line what was read and what became of it."""
        sources = " and ".join(f"{count:,} {what}" for what, count in self.sources.items())
        left_out = ", ".join(f"{count:,} {rule}" for rule, count in sorted(self.left_out.items()))
        size = sum(len(document.text) for document in self.documents)
        characters = f"{size / 1e6:,.1f} M" if size >= 1e6 else f"{size:,}"
        found = f"{len(self.documents):,} documents{f' ({left_out})' if left_out else ''}, {characters} characters"
        notes = (f"{what}: {count:,}" for what, count in sorted(self.notes.items()))
        return "; ".join([f"{sources} -> {found}" if sources else found, *notes])

    def write_quarantine(self, path: str | Path) -> None:
        """Write one JSON object a line: ``{"where": "data/train.jsonl:7", "reason": "...", "rule": "duplicate"}``."""
        lines = [json.dumps(asdict(row)) + "\n" for row in self.quarantine]
        Path(path).write_text("".join(lines), encoding="ascii", newline="\n")


def split_heldout(
    documents: Sequence[Document], share: float, seed: int, least: int = 0, most: int | None = None
) -> tuple[list[Document], list[Document]]:
    """Return (training, held out): documents are held out by the hash of their id, whatever others there are.

    At `least` and at `most` so many are, if any at all, and one is left to train on. All pieces of a document go the
    same way, and count as one.
    """
    hashes = {name: derive(seed, "heldout", name) for name in (d.origin or d.id for d in documents)}
    count = sum(value < share * 2**63 for value in hashes.values())
    if share > 0:
        count = max(count, min(least, len(hashes) - 1))
    out = {*sorted(hashes, key=hashes.__getitem__)[: count if most is None else min(count, most)]}
    held = [(document.origin or document.id) in out for document in documents]
    pairs = list(zip(documents, held, strict=True))
    return [document for document, out in pairs if not out], [document for document, out in pairs if out]


def refuse_bad(quarantine: Sequence[BadRow], good: int, where: str, max_bad: float) -> None:
    """Raise UserError if more than the share `max_bad` of all documents is faulty; `good` are used.

    What a rule left out is not faulty.
    """
    bad = [row for row in quarantine if not row.rule]
    total = len(bad) + good
    if not bad or len(bad) / total <= max_bad:
        return
    first = "".join(f"\n  {row.where}: {row.reason}" for row in bad[:3])
    raise UserError(
        f"{len(bad)} of {total} documents cannot be used ({len(bad) / total:.1%}), the first of them:{first}",
        where=where, allowed=f"at most {max_bad:.1%} (corpus.max_bad)",
        fix="repair them, name other columns with corpus.columns, or raise corpus.max_bad",
    )  # fmt: skip
