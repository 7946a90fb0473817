"""Held-out code with the intentions written into it, as it is drawn: file by file, folded where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ra3.run.results import AnnotatedCode, in_order

HEAD, TAIL, LEAST_FOLD = 12, 4, 6
"""Lines that stay open behind an intention and before the next one, and how few are not worth a fold between them."""


@dataclass(frozen=True)
class Piece:
    """A part of a document: ``Piece("# sort them", "intention", gain=3.2)``."""

    text: str
    kind: str = "code"  # code, intention, or a fold that has to be opened
    gain: float | None = None  # bits that an intention saves, where they were measured
    title: str = ""  # of a fold


@dataclass(frozen=True)
class CodeView:
    """What one model wrote into a document."""

    model: str
    count: int  # intentions
    gain: float | None  # bits that they save together
    pieces: list[Piece]


@dataclass(frozen=True)
class FileView:
    """A document as each model annotated it."""

    name: str
    sides: list[CodeView]

    @property
    def drawn(self) -> list[CodeView]:
        """Those with intentions; where there are none, the document as one model read it."""
        return [side for side in self.sides if side.count] or self.sides[-1:]


def file_views(codes: Sequence[AnnotatedCode]) -> list[FileView]:
    """Every document once, those first into which a model wrote."""
    models, found = in_order(code.model for code in codes), dict[str, list[CodeView]]()
    for code in sorted(codes, key=lambda code: models.index(code.model)):
        gain = sum(code.gains) if len(code.gains) == len(code.latents) else None
        pieces = [piece for piece in _pieces(code) if piece.text]
        found.setdefault(code.document, []).append(CodeView(code.model, len(code.latents), gain, pieces))
    files = [FileView(name, sides) for name, sides in found.items()]
    return sorted(files, key=lambda file: not file.drawn[0].count)


def _pieces(code: AnnotatedCode) -> Iterator[Piece]:
    """The parts of a document in order; their texts together are its context and its text."""
    if code.context:
        yield Piece(code.context, "fold", title=f"context, {_lines(code.context)}")
    ends = [0, *(place for span in code.latents for place in span), len(code.text)]
    gains = code.gains if len(code.gains) == len(code.latents) else [None] * len(code.latents)
    for n, (start, end) in enumerate(pairwise(ends)):
        part = code.text[start:end]
        if n % 2:
            comment = part.rstrip()
            yield Piece(comment, "intention", gain=gains[n // 2])
            yield Piece(part[len(comment) :])
        else:
            yield from _folded(part)


def _folded(text: str) -> Iterator[Piece]:
    """A stretch of code, its middle folded if it is long."""
    lines = text.splitlines(keepends=True)
    if len(lines) < HEAD + LEAST_FOLD + TAIL:
        yield Piece(text)
        return
    middle = "".join(lines[HEAD:-TAIL])
    yield Piece("".join(lines[:HEAD]))
    yield Piece(middle, "fold", title=_lines(middle))
    yield Piece("".join(lines[-TAIL:]))


def _lines(text: str) -> str:
    count = len(text.splitlines())
    return f"{count:,} {'line' if count == 1 else 'lines'}"
