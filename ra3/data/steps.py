"""A document cut into expert steps, and where a comment line may be put between them.

``split`` never changes a character: the steps of a document, joined, are its text. A step begins with the first visible
character of a line, so that the boundary before it stands after its indentation; what is white in front of the text is
a step of its own. A step *may think* where a comment on a line of its own, indented as the step is, leaves the meaning
of the program as it was.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ra3.data.tokens import WHITE
from ra3.errors import UserError

if TYPE_CHECKING:
    from ra3.data.documents import Document


@dataclass(frozen=True)
class Step:
    """One step of expert text: ``Step("x = 1\\n\\n    ", True)``."""

    text: str
    """Exact text, with its line end, the blank lines that follow it, and the indentation of the next step."""
    may_think: bool
    """A comment line before this step leaves the program's meaning unchanged."""


def split(document: Document, kind: str = "line") -> list[Step]:
    """Return the steps of a document's text, cut as one of KINDS. Time is linear in its length."""
    if kind not in KINDS:
        raise UserError(f"unknown kind of step {kind!r}", where="corpus.steps", allowed=", ".join(sorted(KINDS)))
    return KINDS[kind](document.context, document.text)


def lines(context: str, text: str) -> list[Step]:
    """Cut at physical lines. Context and text are one program: a bracket left open by the context counts."""
    return _group((line, not _is_blank(line), may) for line, _, may in _layout(context, text))


def statements(context: str, text: str) -> list[Step]:
    """Cut at simple statements and headers of compound ones, however many lines their brackets or strings span.

    Statements that share a physical line share a step; a comment line is a step of its own.
    """
    return _group((line, begins and not _is_blank(line), may) for line, begins, may in _layout(context, text))


def sentences(context: str, text: str) -> list[Step]:
    """Cut plain text at sentences, with the white space after them; an empty line ends a sentence too."""
    chunks = _CHUNK.findall(text)
    return _group(
        (chunk, _ends_sentence(previous, chunk), True) for previous, chunk in zip(["", *chunks], chunks, strict=False)
    )


KINDS = {"line": lines, "statement": statements, "sentence": sentences}
"""The ways to cut a text: (context, text) -> the steps of the text."""
_CHUNK = re.compile(r"[^\s。！？]*+[。！？]++\s*+|\S++\s*+|\s++")
"""A word with the white space after it. Possessive, so that no input makes it slow."""
_STOPS = tuple(".!?…。！？")
_CLOSERS = "\"')]}»”’*_"


def _ends_sentence(chunk: str, following: str) -> bool:
    word = chunk.rstrip()
    gap = chunk[len(word) :].replace("\r\n", "\n").replace("\r", "\n")
    stops = word.rstrip(_CLOSERS).endswith(_STOPS) and not word.rstrip(".").isdigit()
    return gap.count("\n") > 1 or (stops and not following[:1].islower())


def _layout(context: str, text: str) -> Iterator[tuple[str, bool, bool]]:
    """Each physical line of the text: (line, begins a statement or is no Python, a comment may be put before it).

    Rows of context + text count from 1; a line that begins in the context has row 0.
    """
    before = _physical_lines(context)
    closed, failed = _scan(context + text)
    last_closed = max(closed, default=0)
    if failed and last_closed < len(before) and not _may_be_open(before):
        yield from _layout("", text)  # a context that is no Python (a prompt in words) does not count
        return
    starts_row = not context or context.endswith("\n") or (context.endswith("\r") and not text.startswith("\n"))
    # a shebang or a coding cookie must stay where it is, and a comment must not become one
    free_row = 3 if not context or _NO_CODE.match(context) else 2
    for index, line in enumerate(_physical_lines(text)):
        row = len(before) + starts_row + index if index or starts_row else 0
        yield line, closed.get(row - 1, row - 1 > last_closed), row >= free_row and row - 1 in closed


_NO_CODE = re.compile("\ufeff?[ \t\f]*(?:[#\r\n]|$)")
"""A first line after which Python still looks for a coding cookie in the second (PEP 263)."""
_IDLE = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}
_ODD = ("$", "?", "!", "`")
"""What is an error token, as odd names are, and an operator from Python 3.12 on."""
_NESTING = {f"{kind}STRING_{end}": step for kind in "FT" for end, step in (("START", 1), ("END", -1))}
"""By how much a token's name changes the number of f- and t-strings that are open (Python 3.12 and later)."""


def _scan(source: str) -> tuple[dict[int, bool], bool]:
    """({row whose end is outside strings and no continuation: it ends a statement}, the tokenizer failed further on).

    Line ends are read as the compiler reads them (a lone carriage return is one); a byte order mark is no code.
    """
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if bad := re.search("[\0\ud800-\udfff]", source):
        # no program may hold it, and from Python 3.12 on the tokenizer can end in a SystemError on it
        source = source[: source.rfind("\n", 0, bad.start()) + 1]
    closed: dict[int, bool] = {}
    strings, idle = 0, True
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            odd = token.string in _ODD or token.type == tokenize.NAME and not token.string.isidentifier()
            if token.type == tokenize.ERRORTOKEN or odd and not strings:
                return closed, True
            strings += _NESTING.get(tokenize.tok_name[token.type], 0)
            if token.type == tokenize.NEWLINE:
                closed[token.start[0]] = idle = True
            elif token.type == tokenize.NL and not strings:
                closed[token.start[0]] = idle
            elif token.type not in _IDLE:
                idle = False
    except (tokenize.TokenError, SyntaxError, ValueError, SystemError):
        return closed, True
    return closed, bad is not None


def _may_be_open(context: list[str]) -> bool:
    """These lines could leave a string or a line open, however little of them the tokenizer understands."""
    last = context[-1]
    unfinished = not last.endswith(("\n", "\r")) and ("'" in last or '"' in last)
    return unfinished or last.rstrip("\r\n").endswith("\\") or any("'''" in line or '"""' in line for line in context)


def _physical_lines(text: str) -> list[str]:
    """Lines with their ends: LF, CR LF or a lone CR, as the compiler cuts them, and nothing else."""
    return io.StringIO(text, newline="").readlines()


def _is_blank(line: str) -> bool:
    return not line.strip(WHITE)


def _group(pieces: Iterable[tuple[str, bool, bool]]) -> list[Step]:
    """Joins (text, starts a step, may think) into steps, each from its first visible character on.

    Expert text that itself begins with ``#`` cannot be told from a latent, so no step that does may think.
    """
    steps: list[Step] = []
    held: list[str] = []
    allowed, blank = False, True
    for text, starts, may_think in pieces:
        if starts and not blank:
            steps.append(Step("".join(held), allowed))
            held, blank = [], True
        if blank:
            visible = text.lstrip(WHITE)
            allowed = may_think and not visible.startswith("#")
            white = text.removesuffix(visible) if visible else text  # it ends the step before
            if white and steps:
                steps[-1] = Step(steps[-1].text + white, steps[-1].may_think)
            elif white:
                steps.append(Step(white, False))
            held, blank = [visible], not visible
        else:
            held.append(text)
    return [*steps, Step("".join(held), allowed)] if any(held) else steps
