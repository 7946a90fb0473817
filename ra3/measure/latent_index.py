"""The index of latents: what the latents in annotated text are about, and which code they open.

Latents are gathered by their last word, in English mostly the noun ("# sort the list"), in the embedded world the
operation ("# ba ke zu evens"): whole comments hardly ever repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ra3.data.latents import EncodedDocument, indentation
from ra3.measure.counterfactuals import block
from ra3.run.results import LatentEntry

MOST, CODE_CHARACTERS = 60, 400


def last_word(comment: str) -> str:
    """last_word("# ba ke evens\\n") == "evens"; "" for an empty comment."""
    words = comment.lstrip("#").split()
    return words[-1] if words else ""


@dataclass
class _Gathered:
    """Everything gathered under one word."""

    comments: Counter[str] = field(default_factory=Counter)
    code: Counter[str] = field(default_factory=Counter)
    right: list[bool] = field(default_factory=list)

    def entry(self, word: str) -> LatentEntry:
        """How often, an example, the code that follows most often, how often it is right."""
        count = self.comments.total()
        (example, _), (code, follows) = self.comments.most_common(1)[0], self.code.most_common(1)[0]
        right = sum(self.right) / len(self.right) if self.right else None
        return LatentEntry(word, count, len(self.comments), example.strip(), code, follows / count, right)


class LatentIndex:
    """Gathers latents document by document."""

    def __init__(self):
        self._words: dict[str, _Gathered] = {}

    def add(self, document: EncodedDocument, comments: Sequence[str | None]) -> None:
        """Adds the comments before each step of a document; where it knows the true ones, whether they are right."""
        text, truth = document.document.text, document.document.truth
        true = dict(zip(truth.boundaries, truth.comments, strict=True)) if truth else {}
        places = [*document.places, len(text)]
        written = [t for t, comment in enumerate(comments) if comment is not None]
        for t, end in zip(written, [*written, len(comments)][1:], strict=True):
            comment = comments[t] or ""
            found = self._words.setdefault(last_word(comment), _Gathered())
            found.comments[comment] += 1
            begin = places[t] - len(indentation(text, places[t]))
            found.code[block(text[begin : places[end]])[:CODE_CHARACTERS]] += 1
            if truth:
                found.right.append(comment == true.get(t))

    def entries(self) -> list[LatentEntry]:
        """The words used most, most frequent first."""
        found = [own.entry(word) for word, own in self._words.items()]
        return sorted(found, key=lambda entry: (-entry.count, entry.word))[:MOST]
