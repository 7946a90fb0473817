"""A file of Python cut into its functions, each with the imports and class headers that it stands under.

The cuts are made between lines: a function begins with its decorators and the comments above it. A class
begins another piece, its header and what stands before its first method, or that method where nothing does. What stands
between functions is a piece, too, so the pieces of a file, joined, are its text.
"""

from __future__ import annotations

import ast
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ra3.data.documents import Document

MAX_CONTEXT = 2000
"""Characters of imports and headers before a piece, some 600 tokens: headers always, then the nearest imports."""
Headers = tuple[tuple[int, int], ...]
"""Lines (first, end) of the headers of classes, each inside of the one before."""
Cut = tuple[int, Headers]
"""The line at which a piece begins, and the headers of the classes that it is inside of."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def cut_at_functions(document: Document) -> list[Document] | None:
    """Return a document's functions, methods and what stands between them, named by their first lines: ``a.py:12``.

    None where the text is no Python that this interpreter parses, or follows a context of its own.
    """
    lines = io.StringIO(document.text, newline="").readlines()  # LF, CR LF or a lone CR, as the compiler cuts them
    if document.context or not (tree := _parse(document.text)):
        return None
    imports = {n.lineno - 1: n.end_lineno or 0 for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)}
    cuts = _behind_blank_lines(_cuts(tree.body, lines, 0, ()), lines)
    pieces, contexts = [], {}
    for (start, headers), end in zip(cuts, [*(line for line, _ in cuts[1:]), len(lines)], strict=True):
        context = _context(lines, [span for span in imports.items() if span[0] < start], headers)
        context = contexts.setdefault(context, context)  # one string for all that stand under it
        text, name = "".join(lines[start:end]), f"{document.id}:{start + 1}"
        pieces.append(replace(document, id=name, text=text, context=context, origin=document.id))
    return pieces


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _context(lines: Sequence[str], imports: Sequence[tuple[int, int]], headers: Headers) -> str:
    """The lines of imports and headers: of the imports the nearest that fit."""
    kept = "".join(line for first, end in headers for line in lines[first:end])
    for first, end in reversed(imports):
        more = "".join(lines[first:end])
        if len(more) + len(kept) > MAX_CONTEXT:
            break
        kept = more + kept
    return kept


def _cuts(body: Sequence[ast.stmt], lines: Sequence[str], start: int, headers: Headers) -> Iterator[Cut]:
    """The cuts in a module or class whose statements stand behind line ``start``."""
    yield start, headers
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            first, end = _above(_decorated_line(node), start, lines), node.end_lineno or 0
            yield first, headers
            if isinstance(node, ast.ClassDef):
                header = node.lineno - 1, _above(_decorated_line(node.body[0]), node.lineno, lines)
                _, *inner = _cuts(node.body, lines, header[1], (*headers, header))
                yield from inner[isinstance(node.body[0], Function | ast.ClassDef) :]
            yield end, headers
        start = node.end_lineno or 0


def _decorated_line(node: ast.stmt) -> int:
    return min([node.lineno, *(own.lineno for own in getattr(node, "decorator_list", ()))]) - 1


def _above(line: int, least: int, lines: Sequence[str]) -> int:
    """The first of the comments and blank lines directly above a line, from ``least`` on."""
    while line > least and (not lines[line - 1].strip() or lines[line - 1].lstrip().startswith("#")):
        line -= 1
    return line


def _behind_blank_lines(cuts: Iterable[Cut], lines: Sequence[str]) -> list[Cut]:
    """The cuts moved behind the blank lines that follow them, the first to the top; where two meet, the later one."""
    moved: dict[int, Headers] = {}
    for line, headers in cuts:
        while line < len(lines) and not lines[line].strip():
            line += 1
        moved[line] = headers
    moved.pop(len(lines), None)
    (_, first), *rest = moved.items() or [(0, ())]
    return [(0, first), *rest]
