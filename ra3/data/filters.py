"""Which documents of a corpus are worth training on: rules with names, and none drops anything without saying so.

In this order: a licence at the top of a text is cut off; a text that a program wrote, one packed into long lines and
one that is a table of data are dropped; then what was there before, exactly or nearly. docs/corpora.md lists the rules.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from ra3.data.documents import BadRow, Document

HEAD_LINES = 20
"""Lines at the top of a file in which it may say that it is generated."""
LONG_LINE = 1000
"""Characters of a line that nobody wrote by hand, if less than one in ten of them is white space."""
PACKED_SHARE, DATA_SHARE = 1 / 2, 2 / 3
"""Shares of a text's characters in long lines, or in lines of literals alone, above which it is dropped."""
NEAR_SHARE = 0.85
"""Two texts are near duplicates where they share this much of their runs of five words (Jaccard similarity)."""
RUN_WORDS, NUM_HASHES, NUM_BANDS = 5, 128, 16
"""MinHash signatures of 128 numbers in 16 bands of 8: texts that share 0.85 agree in a band with a chance of 0.994.
Those that do are compared in all 128."""
HASHED_AT_ONCE = 4096
"""Runs of words whose 128 hashes are in memory together: 2 MiB."""

_WORDS = re.compile(rb"[\w\x80-\xff]+")
_MULTIPLIER = np.uint32(0x9E3779B1)
"""Odd, so that the number of a run depends on the order of its words."""
_LICENCE = re.compile(r"copyright|licen[sc]e|SPDX-|all rights reserved", re.IGNORECASE)
_KEPT_FIRST = re.compile(r"\ufeff?(?:#!.*\n)?(?:[ \t\f]*#.*?coding[:=].*\n)?")
"""A shebang and a coding line (PEP 263)."""
_COMMENT_BLOCK = re.compile(r"(?:[ \t\f]*\r?\n)*+((?:[ \t]*#.*(?:\n|$))++)(?:[ \t\f]*\r?\n)*+")
"""Comment lines without a gap, with the blank lines around them."""
_GENERATED = re.compile(
    r""" @generated\b | \bthis\ (?:file|module|script|code)\ (?:is|was|has\ been)\ (?:\w+[ -])?(?:auto-?)?generated\b
    | ^[\s\#/*"'-]* (?: auto(?:matically)?[ -]?generated\b | code\ generated\ (?:by|from)\b
    | generated\ (?:by|from|using)\ | (?-i:DO\ NOT\ (?:EDIT|MODIFY))\b)""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_LITERALS = re.compile(
    r""" (?=[^'"\d]*['"\d]) [ \t]*+ (?: [bru]?'(?:[^'\\\r\n]|\\.)*+' | [bru]?"(?:[^"\\\r\n]|\\.)*+" | \d[\w.]*+
    | None\b | True\b | False\b | [ \t,:;()\[\]{}+*/-] )*+ (?:\#.*+)? $""",
    re.VERBOSE | re.IGNORECASE,
)
"""A line of strings and numbers, one at least, and of what stands between them."""


def without_licence(text: str) -> str:
    """Cut off the blocks of comment lines at the top of a text, up to the last that names a licence or a copyright.

    A shebang and a coding line stay.
    """
    first = _KEPT_FIRST.match(text)
    start = end = cut = first.end() if first else 0
    while block := _COMMENT_BLOCK.match(text, end):
        end = block.end()
        if _LICENCE.search(block[1]):
            cut = end
    return text[:start] + text[cut:]


def generated(text: str) -> str | None:
    """Quote where a text says in its first lines that a program wrote it."""
    head = "\n".join(text.split("\n", HEAD_LINES)[:HEAD_LINES])
    found = _GENERATED.search(head)
    return f"says {' '.join(found[0].split())!r}" if found else None


def packed(text: str) -> str | None:
    """Say how much of a text stands in long lines with little white space: minified code, encoded bytes."""
    long = sum(len(line) for line in text.splitlines() if len(line) > LONG_LINE and _is_dense(line))
    share = long / len(text)
    return f"{share:.0%} of it is packed into long lines" if share > PACKED_SHARE else None


def data(text: str) -> str | None:
    """Say how much of a text stands in lines that hold nothing but literals: a table, a word list, a character set."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    share = sum(map(len, filter(_is_data, lines))) / sum(map(len, lines))
    return f"{share:.0%} of it is in lines of literals" if share > DATA_SHARE else None


RULES: dict[str, Callable[[str], str | None]] = {"generated": generated, "packed": packed, "data": data}
"""By name: why a text with other than white space is dropped, or None."""


def _is_dense(line: str) -> bool:
    return 10 * sum(map(str.isspace, line)) < len(line)


def _is_data(line: str) -> bool:
    return not line.startswith(("#", '"""', "'''")) and _LITERALS.match(line) is not None


class Sieve:
    """Passes the documents of a corpus one by one, in their order, and remembers those that it let through.

    notes: counts the licences that were cut off.
    """

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes
        self._exact: dict[bytes, str] = {}
        self._near = NearDuplicates()

    def sift(self, document: Document) -> Document | BadRow:
        """Return the document, without its licence, or why it is dropped."""
        text = without_licence(document.text)
        if not text.strip():
            return BadRow(document.id, "holds a licence and nothing else", "empty")
        for rule, reason_of in RULES.items():
            if reason := reason_of(text):
                return BadRow(document.id, reason, rule)
        whole = document.context + text
        same = self._exact.setdefault(blake2b(whole.encode(), digest_size=16).digest(), document.id)
        if same != document.id:
            return BadRow(document.id, f"is the same as {same}", "duplicate")
        if like := self._near.add(document.id, whole):
            return BadRow(document.id, f"is nearly the same as {like}", "near duplicate")
        if text == document.text:
            return document
        self._notes["licences cut off"] += 1
        return replace(document, text=text)


class NearDuplicates:
    """Texts by their MinHash signatures, in bands: time is linear in the text, memory in the number of texts."""

    def __init__(self) -> None:
        from datasketch import MinHash, MinHashLSH

        self._empty = MinHash(NUM_HASHES, seed=1, hashfunc=int)
        self._bands: Any = MinHashLSH(num_perm=NUM_HASHES, params=(NUM_BANDS, NUM_HASHES // NUM_BANDS))
        self._signatures: dict[str, MinHash] = {}

    def add(self, name: str, text: str) -> str | None:
        """Return the name of a text like this one; where there is none, remember this one."""
        words = np.array([zlib.crc32(word) for word in _WORDS.findall(text.encode())], np.uint32)
        if len(words) < RUN_WORDS:
            return None
        runs = np.zeros(len(words) - RUN_WORDS + 1, np.uint32)
        for i in range(RUN_WORDS):
            runs = runs * _MULTIPLIER + words[i : i + len(runs)]
        numbers, signature = np.unique(runs).tolist(), self._empty.copy()
        for start in range(0, len(numbers), HASHED_AT_ONCE):
            signature.update_batch(numbers[start : start + HASHED_AT_ONCE])
        found = [(self._signatures[other].jaccard(signature), other) for other in self._bands.query(signature)]
        if found and max(found)[0] >= NEAR_SHARE:
            return max(found)[1]
        self._bands.insert(name, signature)
        self._signatures[name] = signature
        return None
