"""The program in a reply in words, and code that is given in front of a program.

What counts is the last block marked as Python (``py``, ``python3``, ``Python 3.11``, ``{.python}``), else the last one
without a mark; a block of another language never does. What stands before the end of a reasoning (``</think>`` and its
like) is no part of the reply, and a reply without a block is a program as it is.

A block begins with a fence, three or more backticks or tildes: where its line begins, but for spaces, ``>`` or the mark
of a list, or where its line ends, but for Python's name. It ends with the next line that begins or ends with as many,
whatever else stands there, or with the reply; if Python's name stands there, the next block begins. Its lines lose the
``>`` and the indentation of its first.
"""

import contextlib
import io
import re
import tokenize
from collections.abc import Iterable, Iterator

REASONING_END = re.compile(r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|<\|end_of_thought\|>")
FENCE = re.compile(
    r"(?P<quote>(?:[ \t]*>)*+)(?P<indent>[ \t]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]++)?+)(?P<text>.*?)"
    r"(?<![`~])(?P<fence>`{3,}+|~{3,}+)(?P<mark>[^`~]*)"
)
"""A line at whose end a block can begin; time is linear in its length."""
PYTHON = re.compile(r"[\s{.]*(?:py|python|pypy)[\d.]*(?![\w.+#-])", re.IGNORECASE)


def fenced_program(reply: str) -> str:
    """Return the program in a reply, by the rule above; "" where only other languages have a block.

    Example: ``fenced_program("Here:\\n```python\\nx = 1\\n```\\n") == "x = 1\\n"``
    """
    reply = REASONING_END.split(reply)[-1].replace("\r\n", "\n")
    last: dict[str, str] = {}
    for language, block in _blocks(reply.removesuffix("\n").split("\n")):
        last[language] = block
    return last.get("python", last.get("", "")) if last else reply


def _blocks(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(language, text) of every block; the language is "python", "" where none is named, or "other"."""
    first, block = None, list[str]()
    for raw in lines:
        if first is None:
            first = _first_line(raw)
            continue
        line, fence = _own_part(raw, first), first["fence"]
        if not (ends := line.lstrip().startswith(fence)):
            ends = line.rstrip().endswith(fence)
            block.append(line.rstrip().rstrip(fence[0]) if ends else line)
        if ends:
            yield _language(first), "\n".join([*block, ""])
            again = _first_line(raw)
            first, block = again if again and _language(again) == "python" else None, []
    if first:
        yield _language(first), "\n".join([*block, ""])


def _first_line(line: str) -> re.Match[str] | None:
    """The parts of a line with which a block begins, else None."""
    found = FENCE.fullmatch(line)
    return found if found and (not found["text"].strip() or PYTHON.fullmatch(found["mark"].rstrip())) else None


def _language(first: re.Match[str]) -> str:
    return "python" if PYTHON.match(first["mark"]) else "other" if first["mark"].strip() else ""


def _own_part(line: str, first: re.Match[str]) -> str:
    """A line of a block without what stands in front of the whole block."""
    line, indent = re.sub(rf"(?:[ \t]*>){{0,{first['quote'].count('>')}}}", "", line, count=1), first["indent"]
    if line.startswith(indent):
        return line[len(indent) :]
    return re.sub(rf" {{0,{len(indent.expandtabs(4))}}}", "", line, count=1)


def behind(given: str, program: str) -> str:
    """Put a program behind code that it may take for granted; its imports from ``__future__`` stay in front of that.

    Example: ``behind("import re\\n", "from __future__ import annotations\\nx = 1\\n")``
    """
    if not given:
        return program
    lines, end, statement = list(io.StringIO(program)), 0, list[str]()
    with contextlib.suppress(tokenize.TokenError, SyntaxError):  # what is no Python fails when it is run
        for token in tokenize.generate_tokens(iter(lines).__next__):
            if token.type != tokenize.NEWLINE and token.string != ";":
                statement += [token.string] if token.type not in (tokenize.COMMENT, tokenize.NL) else []
                continue
            if statement[:3] == ["from", "__future__", "import"]:
                end = token.end[0]
            elif not all(part.endswith(tuple("\"'()")) for part in statement):  # no docstring
                break
            statement = []
    return "".join([*lines[:end], given, *lines[end:]])
