"""Latents written as comments: an intention is the line ``# words`` before the step that it opens, indented as it is.

In text, ``annotate_text`` writes comments in and ``remove`` takes them out again, to the character. In ids a document
is tokenised once, as a whole, and its steps are slices of these ids, so that without latents it is ``tokenizer(text)``.
At the boundary before a step an ``Opening`` holds what a latent needs there: the token that opens it (``#`` with or
without the space in front of it, whichever the tokenizer writes in that place), and the ids that close it, a line break
and the step's indentation. ``LatentSyntax`` finds them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

from ra3.data.documents import BadRow, Document
from ra3.data.steps import split
from ra3.data.tokens import (
    WHITE,
    TokenizedText,
    continuation_ids,
    decode,
    start_ids,
    token_ids,
    token_texts,
    tokenize_text,
)  # fmt: skip
from ra3.errors import UserError

COMMENT_OPENER = "#"

Span = tuple[int, int]
"""Start and end of an inserted latent, in characters of the annotated text."""


def annotate_text(text: str, comments: Mapping[int, str]) -> tuple[str, list[Span]]:
    """The text with comments, and where they stand; ``comments``: a line ``"# ...\\n"`` for each place in the text.

    A place is that of a step's first visible character. The white space in front of it on its line is written again
    behind the comment. Raises ValueError for a comment that is no single ``#`` line.
    """
    pieces, spans, done, length = [], [], 0, 0
    for place, comment in sorted(comments.items()):
        if not (comment.startswith("#") and comment.endswith("\n")) or any(end in comment[:-1] for end in "\r\n\0"):
            raise ValueError(f"a latent is one comment line that begins with '#' and ends with a newline: {comment!r}")
        written = comment + indentation(text, place)
        length += place - done
        spans.append((length, length + len(written)))
        pieces += [text[done:place], written]
        done, length = place, length + len(written)
    return "".join([*pieces, text[done:]]), spans


def remove(text: str, spans: Sequence[Span]) -> str:
    """The text without its latents: the exact inverse of ``annotate_text``."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _white_run(text: str, place: int) -> str:
    """The white space that ends at a place, and the visible character before it."""
    start = place
    while start and text[start - 1] in WHITE:
        start -= 1
    return text[max(0, start - 1) : place]


def indentation(text: str, place: int) -> str:
    """The white space in front of a place, on its line."""
    start = place
    while start and text[start - 1] in " \t\f":
        start -= 1
    return text[start:place]


class Opening(NamedTuple):
    """How a latent is written at one boundary."""

    think: int
    """Number of the token that opens it, among `LatentSyntax.think_ids`."""
    close: tuple[int, ...]
    """Ids of the line break that ends it and of the indentation of the step after it."""


@dataclass(frozen=True)
class LatentSyntax:
    """How latents are written in one tokenizer's ids."""

    tokenizer: Any = field(compare=False)
    opener: str
    """Text of the token that opens a latent: "#", or the name of a special token."""
    start_ids: tuple[int, ...]
    """What the tokenizer puts in front of a text: one id, or none."""
    think_ids: tuple[int, ...]
    """The tokens that open a latent, each at boundaries of its own: "#" and " #"."""
    word_ids: tuple[int, ...]
    """Ids that may stand inside a comment, ascending: printable text that is more than spaces."""
    break_ids: tuple[int, ...]
    """Ids that begin with a line break, ascending. Any of them says that a comment ends."""
    last_word_ids: tuple[int, ...]
    """Ids of printable text with a line break behind it, which end a comment, too: ".\\n" in Llama 3 and Qwen."""
    _openers: dict[str, tuple[int, tuple[int, ...]] | None] = field(default_factory=dict, compare=False, repr=False)
    _closes: dict[tuple[str, int, int], tuple[int, ...] | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, opener: str = COMMENT_OPENER) -> LatentSyntax:
        """Reads the syntax off a Hugging Face tokenizer; any other opener than "#" is one of its special tokens.

        Raises UserError where comments cannot be opened or closed with tokens of their own.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise _unfit(tokenizer, "does not say where in a text its tokens stand (it is no fast tokenizer)")
        texts = _ordinary_texts(tokenizer)
        words = tuple(i for i, text in texts.items() if text.isprintable() and text.strip())
        breaks = tuple(i for i, text in texts.items() if text[0] in "\r\n")
        last = [i for i, text in texts.items() if text[-1] == "\n" and text[:-1].isprintable() and text.strip()]
        behind_white = {ids[-1] for ids in token_ids(tokenizer, ["a\n#", "a\n    #", "a\n\t#", "a #"])}
        hashes = tuple(sorted(i for i in behind_white if texts.get(i, "").strip() == COMMENT_OPENER))
        if not breaks or not hashes:
            raise _unfit(tokenizer, f"has no token of its own for {'a line break' if hashes else repr(COMMENT_OPENER)}")
        newline = continuation_ids(tokenizer, "a", "\n    b")
        think_ids = hashes if opener == COMMENT_OPENER else (tokenizer.convert_tokens_to_ids(opener),)
        last = last if newline is not None and texts.get(newline[0]) == "\n" else []  # indentation joins no line break
        syntax = cls(tokenizer, opener, start_ids(tokenizer), think_ids, words, breaks, tuple(last))
        probe = encode(syntax, Document("", "if a:\n    b = 1\nc = 2\n"))
        if isinstance(probe, BadRow) or not any(probe[0].openings):
            raise _unfit(tokenizer, "joins line breaks or indentation with the text behind them")
        return syntax

    def opening(self, text: str, place: int, ids: Sequence[int], token: int) -> Opening | None:
        """How a latent is written at a place of a text, in front of token number `token` of its ids. None where the
        tokenizer joins what it would have to part."""
        run, first_id = _white_run(text, place), ids[token]
        if run not in self._openers:
            self._openers[run] = self._find_opener(run)
        if (opener := self._openers[run]) is None or first_id in self.think_ids:
            return None
        think, white = opener
        key = indentation(run, len(run)), first_id, think
        if key not in self._closes:
            self._closes[key] = self._find_close(*key)
        close = self._closes[key]
        return Opening(think, close) if close is not None and tuple(ids[token - len(white) : token]) == white else None

    def _find_opener(self, run: str) -> tuple[int, tuple[int, ...]] | None:
        """Which of `think_ids` follows a visible character and white space, and the ids between the two."""
        if self.opener != COMMENT_OPENER:
            return 0, ()
        *white, own = token_ids(self.tokenizer, [run + COMMENT_OPENER])[0]
        between = tuple(white[1:] if run.strip(WHITE) else white)
        return (self.think_ids.index(own), between) if own in self.think_ids else None

    def _find_close(self, indentation: str, first_id: int, think: int) -> tuple[int, ...] | None:
        """The ids of a line break and an indentation between a word and a step that begins with `first_id`. None where
        that takes other white space along than the `#` in its place."""
        first, opener = token_texts(self.tokenizer, [first_id, self.think_ids[think]])
        visible = first.lstrip(WHITE)
        alike = self.opener != COMMENT_OPENER or first == opener.removesuffix(COMMENT_OPENER) + visible
        ids = continuation_ids(self.tokenizer, "a", f"\n{indentation}{visible}")
        if not (alike and ids) or ids[-1] != first_id or ids[0] not in self.break_ids:
            return None
        return tuple(ids[:-1])

    def comment(self, latent_ids: Sequence[int]) -> str:
        """The ids of a latent as the comment line that it is in text."""
        line = decode(self.tokenizer, latent_ids).lstrip(WHITE).removeprefix(self.opener).partition("\n")[0]
        return f"{COMMENT_OPENER}{line}\n"

    def latent_ids(self, comment: str, opening: Opening) -> list[int]:
        """The inverse: the ids of a comment line as a latent at a boundary. ValueError where its words cannot be."""
        ids = continuation_ids(self.tokenizer, COMMENT_OPENER, comment.removeprefix(COMMENT_OPENER))
        if ids is None or ids[-1] not in (*self.break_ids, *self.last_word_ids):
            raise ValueError(f"the tokenizer joins '#' or the line break with the words of {comment!r}")
        words, close = (ids[:-1], opening.close) if ids[-1] in self.break_ids else (ids, opening.close[1:])
        return [self.think_ids[opening.think], *words, *close]


def _unfit(tokenizer: Any, why: str) -> UserError:
    return UserError(
        f"this tokenizer {why}",
        where=str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__),
        allowed="a tokenizer that keeps line breaks and indentation, such as byte-level BPE (GPT-2, Llama 3, Qwen)",
        fix="use another model: intentions are comment lines, which this tokenizer cannot open or close",
    )


def _ordinary_texts(tokenizer: Any) -> dict[int, str]:
    """{id: text} of ordinary tokens, ascending; parts of a character decode to U+FFFD and are left out."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = sorted({*tokenizer.get_vocab().values()} - special - {*tokenizer.all_special_ids})
    texts = zip(ids, token_texts(tokenizer, ids), strict=True)
    return {i: text for i, text in texts if text and "\ufffd" not in text}


@dataclass(frozen=True)
class EncodedDocument:
    """A document as ids, or a window of one."""

    document: Document
    """With the text of the window alone."""
    context_ids: tuple[int, ...]
    """What is conditioned on: the ids of the context, and where nothing else is in front of it, the text's first."""
    step_ids: tuple[tuple[int, ...], ...]
    """Ids of each step; never empty."""
    openings: tuple[Opening | None, ...]
    """How a latent may be written before each step, None where none may."""
    places: tuple[int, ...]
    """Where each step begins, in characters of the text."""
    offset: int = 0
    """Where the window begins, in characters of the whole document's text."""
    cut: bool = False
    """The document goes on behind the last step."""
    joined: int = 0
    """Steps before which a comment might stand, had the tokenizer not joined what it would part."""

    @property
    def id(self) -> str:
        """The document's name."""
        return self.document.id

    def placed(self, comments: Sequence[str | None]) -> dict[int, str]:
        """Return the comments before the steps by their places in the text."""
        return {place: own for place, own in zip(self.places, comments, strict=True) if own is not None}

    def upto(self, end: int) -> EncodedDocument:
        """Return the document cut before step ``end``."""
        steps, openings, places = self.step_ids[:end], self.openings[:end], self.places[:end]
        cut = self.cut or end < len(self.step_ids)
        return replace(self, step_ids=steps, openings=openings, places=places, cut=cut)

    def branch(self, place: int, count: int) -> EncodedDocument:
        """Return ``count`` steps from ``place`` on, all before them as context, which alone open with a choice."""
        own = self.upto(place + count).thinking_only_at(place)
        context = (*own.context_ids, *(i for ids in own.step_ids[:place] for i in ids))
        steps, openings, places = own.step_ids[place:], own.openings[place:], own.places[place:]
        return replace(own, context_ids=context, step_ids=steps, openings=openings, places=places)

    def thinking_only_at(self, place: int) -> EncodedDocument:
        """Return the document with ``place`` as the only boundary at which a latent may be written."""
        return replace(self, openings=tuple(own if t == place else None for t, own in enumerate(self.openings)))


class _Boundary(NamedTuple):
    """Where a step begins."""

    token: int
    """Number of its first token."""
    place: int
    """Its first character in the document's text."""
    opening: Opening | None = None
    joined: bool = False


def encode(
    syntax: LatentSyntax, document: Document, kind: str = "line", max_tokens: int = 1024
) -> list[EncodedDocument] | BadRow:
    """The document as windows that cover all of its text, each at most ``max_tokens`` ids with what is in front of it.

    A token that begins in the context belongs to it. A window without context, of a tokenizer that puts nothing in
    front of a text, is read behind the token before it, the first one behind its own first token. A BadRow says why a
    document has none: the tokenizer loses part of it, or its context leaves no room.
    """
    text = document.context + document.text
    tokens = tokenize_text(syntax.tokenizer, text)
    if problem := _loss(text, decode(syntax.tokenizer, tokens.ids)):
        return BadRow(document.id, problem)
    context = bisect_left(tokens.starts, len(document.context)) if document.context else 0
    given = context or int(not syntax.start_ids)
    if given >= len(tokens.ids):
        return BadRow(document.id, "it has no steps")
    if (room := max_tokens - given) < 1:
        what = f"its context alone takes {context} tokens" if context else "there is no room for it"
        return BadRow(document.id, f"{what} (at most {max_tokens} with the text)")
    boundaries = _boundaries(syntax, document, kind, tokens, given)
    steps = _parted(boundaries, tokens, len(document.context), room)
    return _windows(document, tokens.ids, steps, context, given, room)


def encode_all(
    syntax: LatentSyntax, documents: Iterable[Document], kind: str = "line", max_tokens: int = 1024
) -> tuple[list[EncodedDocument], list[BadRow]]:
    """The windows of every document that can be encoded, in order, and why the others cannot."""
    results = [encode(syntax, document, kind, max_tokens) for document in documents]
    good = [window for result in results if not isinstance(result, BadRow) for window in result]
    return good, [result for result in results if isinstance(result, BadRow)]


def _loss(text: str, back: str) -> str | None:
    """What the tokenizer loses of a text, or None."""
    if back == text:
        return None
    at = next((n for n, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
    lost, found = (ascii(own[at : at + 60]) for own in (text, back))
    return f"the tokenizer is lossy for this text: {lost} reads back as {found}"


def _boundaries(
    syntax: LatentSyntax, document: Document, kind: str, tokens: TokenizedText, given: int
) -> list[_Boundary]:
    """Where the steps of a document begin, behind the tokens that are given. A step without a first token of its own
    joins the one after it."""
    text, place = document.context + document.text, len(document.context)
    found: list[_Boundary] = []
    for step in split(document, kind):
        own = bisect_right(tokens.ends, place)
        token = max(given, own) if found else given
        if token == len(tokens.ids):
            break
        opening = None
        if step.may_think and own == token and not text[tokens.starts[own] : place].strip(WHITE):
            opening = syntax.opening(text, place, tokens.ids, own)
        if found and found[-1].token == token:
            found.pop()
        found.append(_Boundary(token, place - len(document.context), opening, step.may_think and opening is None))
        place += len(step.text)
    return found


def _parted(
    boundaries: Sequence[_Boundary], tokens: TokenizedText, context: int, room: int
) -> list[tuple[_Boundary, int]]:
    """The boundaries, and the end of each step in tokens; a step longer than `room` goes on in others, which act."""
    ends = [*(boundary.token for boundary in boundaries[1:]), len(tokens.ids)]
    found = []
    for boundary, end in zip(boundaries, ends, strict=True):
        for token in range(boundary.token, end, room):
            own = boundary if token == boundary.token else _Boundary(token, tokens.starts[token] - context)
            found.append((own, min(end, token + room)))
    return found


def _windows(
    document: Document, ids: Sequence[int], steps: Sequence[tuple[_Boundary, int]], context: int, given: int, room: int
) -> list[EncodedDocument]:
    """Windows of at most `room` tokens of whole steps, read behind the context, or behind one token if one is `given`.
    """
    cuts = [0]
    for t, (_, end) in enumerate(steps):
        if end - steps[cuts[-1]][0].token > room:
            cuts.append(t)
    places = [steps[t][0].place for t in cuts]
    offsets = [0, *(place - len(indentation(document.text, place)) for place in places[1:]), len(document.text)]
    windows = []
    for (first, last), (begin, end) in zip(pairwise([*cuts, len(steps)]), pairwise(offsets), strict=True):
        own, start = steps[first:last], steps[first][0].token
        part = replace(
            document, id=f"{document.id}@{begin}" if first else document.id, text=document.text[begin:end],
            truth=document.truth and document.truth.between(first, last),
        )  # fmt: skip
        windows.append(EncodedDocument(
            part, tuple(ids[:context] or ids[start - given : start]),
            tuple(tuple(ids[boundary.token : after]) for boundary, after in own),
            tuple(boundary.opening for boundary, _ in own), tuple(boundary.place - begin for boundary, _ in own),
            begin, last < len(steps), sum(boundary.joined for boundary, _ in own),
        ))  # fmt: skip
    return windows
