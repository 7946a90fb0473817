"""A document cut into expert steps, and where a comment line may be put between them.

``split`` never changes a character: the steps of a document, joined, are its text. A step *may think* where a comment
line at column 0, written before it, leaves the meaning of the program as it was. ``KINDS`` names the ways to cut;
``register`` adds one.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ra3.errors import UserError

if TYPE_CHECKING:
    from ra3.data.documents import Document


@dataclass(frozen=True)
class Step:
    """One step of expert text: ``Step("x = 1\\n\\n", True)``."""

    text: str
    """Exact text, with its line end and the blank lines that follow it."""
    may_think: bool
    """A comment line before this step leaves the program's meaning unchanged."""


Splitter = Callable[[str, str], list[Step]]
"""(context, text) -> the steps of the text."""

KINDS: dict[str, Splitter] = {}
"""The ways to cut a text, by name."""


def register(name: str) -> Callable[[Splitter], Splitter]:
    """Decorator: makes a splitter available as ``split(document, name)``."""

    def add(splitter: Splitter) -> Splitter:
        KINDS[name] = splitter
        return splitter

    return add


def split(document: Document, kind: str = "line") -> list[Step]:
    """The steps of a document's text; joined, they are the text exactly. Time is linear in its length.

    Raises UserError for an unknown kind, ValueError where a registered splitter changes the text.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of step {kind!r}", where="corpus.steps", allowed=", ".join(sorted(KINDS)))
    steps = KINDS[kind](document.context, document.text)
    if "".join(step.text for step in steps) != document.text:
        raise ValueError(f"the {kind!r} splitter changed the text of {document.id}")
    return steps


@register("line")
def lines(context: str, text: str) -> list[Step]:
    """One step per physical line. Context and text are one program: a bracket left open by the context counts."""
    layout = Layout.of(context, text)
    return _group((line, not _is_blank(line), layout.may_comment(row)) for line, row in layout.rows(text))


@register("statement")
def statements(context: str, text: str) -> list[Step]:
    """One step per simple statement or header of a compound one, however many lines its brackets or strings span.

    Statements that share a physical line share a step; a comment line is a step of its own.
    """
    layout = Layout.of(context, text)
    return _group(
        (line, layout.begins_statement(row) and not _is_blank(line), layout.may_comment(row))
        for line, row in layout.rows(text)
    )


@register("sentence")
def sentences(context: str, text: str) -> list[Step]:
    """One step per sentence of plain text, with the white space after it; an empty line ends a sentence too."""
    chunks = _CHUNK.findall(text)
    return _group(
        (chunk, _ends_sentence(previous, chunk), True) for previous, chunk in zip(["", *chunks], chunks, strict=False)
    )


_CHUNK = re.compile(r"[^\s。！？]*+[。！？]++\s*+|\S++\s*+|\s++")
"""A word with the white space after it. Possessive, so that no input makes it slow."""
_STOPS = tuple(".!?…。！？")
_CLOSERS = "\"')]}»”’*_"


def _ends_sentence(chunk: str, following: str) -> bool:
    word = chunk.rstrip()
    gap = chunk[len(word) :].replace("\r\n", "\n").replace("\r", "\n")
    stops = word.rstrip(_CLOSERS).endswith(_STOPS) and not word.rstrip(".").isdigit()
    return gap.count("\n") > 1 or (stops and not following[:1].islower())


@dataclass(frozen=True)
class Layout:
    """Which physical rows of context + text close a line of the program. Rows count from 1."""

    closed: dict[int, bool]
    """Rows whose end lies outside strings and is no backslash continuation: {row: it also ends a statement}."""
    last_closed: int
    """The last of them, or 0."""
    first_row: int
    """The row on which the text begins."""
    starts_row: bool
    """The text begins at the start of that row, not in the middle."""
    free_row: int
    """No comment may be put before an earlier row: a shebang or a coding cookie must stay where it is, and a comment
    must not become one."""

    @classmethod
    def of(cls, context: str, text: str) -> Layout:
        """The layout of text after context. A context that is no Python (a prompt in words) does not count."""
        before = _physical_lines(context)
        starts_row = not context or context.endswith("\n") or (context.endswith("\r") and not text.startswith("\n"))
        closed, failed = _scan(context + text)
        last = max(closed, default=0)
        if failed and last < len(before) and not _may_be_open(before):
            return cls.of("", text)
        cookie_possible = not context or _NO_CODE.match(context)
        return cls(closed, last, len(before) + starts_row, starts_row, 3 if cookie_possible else 2)

    def rows(self, text: str) -> Iterator[tuple[str, int]]:
        """Each physical line of the text with its row; row 0 for a line that begins in the context."""
        for index, line in enumerate(_physical_lines(text)):
            yield line, self.first_row + index if index or self.starts_row else 0

    def may_comment(self, row: int) -> bool:
        """A comment line put before this row is a comment, and changes nothing else."""
        return row >= self.free_row and row - 1 in self.closed

    def begins_statement(self, row: int) -> bool:
        """The row before ends a statement, or could not be read as Python."""
        return self.closed.get(row - 1, row - 1 > self.last_closed)


_NO_CODE = re.compile("\ufeff?[ \t\f]*(?:[#\r\n]|$)")
"""A first line after which Python still looks for a coding cookie in the second (PEP 263)."""
_IDLE = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}
_OPENING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}


def _scan(source: str) -> tuple[dict[int, bool], bool]:
    """({row that a NEWLINE or NL token closes: it ends a statement}, the tokenizer failed further on).

    Line ends are read as the compiler reads them (a lone carriage return is one); a byte order mark is no code.
    """
    source, broken = _readable(source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    closed: dict[int, bool] = {}
    strings, idle = 0, True
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.ERRORTOKEN:
                return closed, True
            strings += (token.type in _OPENING) - (token.type in _CLOSING)
            if token.type == tokenize.NEWLINE:
                closed[token.start[0]] = idle = True
            elif token.type == tokenize.NL and not strings:
                closed[token.start[0]] = idle
            elif token.type not in _IDLE:
                idle = False
    except (tokenize.TokenError, SyntaxError, ValueError, SystemError):
        return closed, True
    return closed, broken


def _readable(source: str) -> tuple[str, bool]:
    """The lines before a character that no program may hold, and whether there is one.

    From Python 3.12 on the tokenizer can end in a SystemError on such a character.
    """
    bad = re.search("[\0\ud800-\udfff]", source)
    return (source[: source.rfind("\n", 0, bad.start()) + 1], True) if bad else (source, False)


def _may_be_open(context: list[str]) -> bool:
    """These lines could leave a string or a line open, however little of them the tokenizer understands."""
    last = context[-1]
    unfinished = not last.endswith(("\n", "\r")) and ("'" in last or '"' in last)
    return unfinished or last.rstrip("\r\n").endswith("\\") or any("'''" in line or '"""' in line for line in context)


def _physical_lines(text: str) -> list[str]:
    """Lines with their ends: LF, CR LF or a lone CR, as the compiler cuts them, and nothing else."""
    return io.StringIO(text, newline="").readlines()


def _is_blank(line: str) -> bool:
    return not line.strip(" \t\f\r\n")


def _group(pieces: Iterable[tuple[str, bool, bool]]) -> list[Step]:
    """Joins (text, starts a step, may think) into steps; whatever comes before the first non-blank piece joins it.

    Expert text that itself begins with ``#`` cannot be told from a latent, so no step that does may think.
    """
    steps: list[Step] = []
    held: list[str] = []
    allowed, blank = False, True
    for text, starts, may_think in pieces:
        if starts and not blank:
            steps.append(Step("".join(held), allowed))
            held, blank = [], True
        if not held:
            allowed = may_think and not text.startswith("#")
        held.append(text)
        blank = blank and _is_blank(text)
    return [*steps, Step("".join(held), allowed)] if held else steps
