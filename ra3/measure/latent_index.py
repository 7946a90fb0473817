"""The dictionary of found abstractions: what the intentions in annotated text are about, and which code they open.

Intentions are gathered by their last word, in English mostly the noun ("# sort the list"), in the embedded world the
operation ("# ba ke zu evens"): whole comments hardly ever repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ra3.data.documents import Document
from ra3.data.steps import split
from ra3.measure.counterfactuals import block

MOST, CODE_CHARACTERS = 60, 400


def last_word(comment: str) -> str:
    """last_word("# ba ke evens\\n") == "evens"; "" for an empty comment."""
    words = comment.lstrip("#").split()
    return words[-1] if words else ""


@dataclass
class Entry:
    """Everything gathered under one word."""

    comments: Counter[str] = field(default_factory=Counter)
    code: Counter[str] = field(default_factory=Counter)
    right: int = 0
    judged: int = 0

    def record(self, word: str) -> dict[str, Any]:
        """A row of results.json: how often, an example, the code that follows most often, how often it is right."""
        count = self.comments.total()
        (example, _), (code, follows) = self.comments.most_common(1)[0], self.code.most_common(1)[0]
        share = {"right_share": self.right / self.judged} if self.judged else {}
        place = {"word": word, "count": count, "comments": len(self.comments), "example": example.strip()}
        return {**place, "code": code, "code_share": follows / count, **share}


class Dictionary:
    """Gathers intentions document by document."""

    def __init__(self, kind: str = "line"):
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, document: Document, comments: Sequence[str | None]) -> None:
        """The comments before each step of a document; where it knows the true ones, whether they are right."""
        steps = [step.text for step in split(document, self.kind)]
        truth = document.truth
        true = dict(zip(truth.boundaries, truth.comments, strict=True)) if truth else {}
        places = [t for t, comment in enumerate(comments) if comment is not None]
        for t, end in zip(places, [*places, len(steps)][1:], strict=True):
            comment = comments[t] or ""
            entry = self._entries.setdefault(last_word(comment), Entry())
            entry.comments[comment] += 1
            entry.code[block("".join(steps[t:end]))[:CODE_CHARACTERS]] += 1
            if truth:
                entry.judged += 1
                entry.right += comment == true.get(t)

    def records(self) -> list[dict[str, Any]]:
        """The words used most, most frequent first."""
        found = [entry.record(word) for word, entry in self._entries.items()]
        return sorted(found, key=lambda record: (-record["count"], record["word"]))[:MOST]
