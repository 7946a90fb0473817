"""Documents from a folder of files, JSONL, Parquet or a saved Hugging Face data set.

Text is kept byte for byte (line ends, a byte order mark, a missing final newline). What cannot be used goes to the
quarantine with its place and the reason; too much of it, or no document at all, is a UserError.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from ra3.data.tables import EMPTY_FILE, TABLES, Item, Keys, is_table, read_dataset, read_file
from ra3.errors import UserError
from ra3.seeds import derive

SKIPPED_FOLDERS = ("__pycache__", "site-packages", "dist-packages")
"""Folders below a corpus folder that are no part of it, as are hidden ones."""
FORMATS = f"a folder, one of {', '.join(TABLES)}, or a folder saved by Hugging Face datasets"


@dataclass(frozen=True)
class Document:
    """One piece of expert text: ``Document("pkg/mod.py", "x = 1\\n")``."""

    id: str
    """Stable and unique: ``pkg/mod.py`` or ``file.jsonl:12``."""
    text: str
    """Expert text, cut into steps."""
    context: str = ""
    """Prompt before the text: conditioned on, never annotated, carries no loss."""
    truth: dict[str, list[Any]] | None = None
    """Embedded worlds only: aligned lists, ``{"boundaries": [step index, ...], "chains": [...], ...}``."""


@dataclass(frozen=True)
class BadRow:
    """What could not be used: ``BadRow("data/train.jsonl:7", "no key 'text' (it has: code, lang)")``."""

    where: str
    """``file:line``, or the id of a document."""
    reason: str


@dataclass(frozen=True)
class Corpus:
    """The documents of a corpus in their order, and what could not be used."""

    documents: list[Document]
    quarantine: list[BadRow]

    def write_quarantine(self, path: str | Path) -> None:
        """One JSON object a line: ``{"where": "data/train.jsonl:7", "reason": "..."}``."""
        rows = [json.dumps({"where": row.where, "reason": row.reason}) + "\n" for row in self.quarantine]
        Path(path).write_text("".join(rows), encoding="ascii", newline="\n")


def read(
    path: str | Path,
    pattern: str = "**/*.py",
    text_key: str = "text",
    context_key: str = "context",
    id_key: str = "id",
    documents: int = 0,
    max_bad: float = 0.1,
) -> Corpus:
    """The corpus at ``path``: at most ``documents`` of its documents (0: all), files in the order of their names.

    Raises UserError if the path or the format is wrong, if more than the share ``max_bad`` cannot be used, or if there
    is no document. An empty file is quarantined but does not count as bad: packages are full of them.
    """
    path = Path(path).expanduser()
    corpus = _collect(_items(path, pattern, Keys(text_key, context_key, id_key)), documents)
    refuse_bad(corpus.quarantine, len(corpus.documents), str(path), max_bad)
    if not corpus.documents:
        raise UserError("there is no document here", where=f"{path} (pattern {pattern})", fix=_advice(path, pattern))
    return corpus


def split_heldout(documents: Sequence[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """(training, held out): a document is held out by the hash of its id, whatever other documents there are."""
    held = [derive(seed, "heldout", document.id) < share * 2**63 for document in documents]
    pairs = list(zip(documents, held, strict=True))
    return [document for document, out in pairs if not out], [document for document, out in pairs if out]


def _collect(items: Iterable[Item], limit: int) -> Corpus:
    corpus = Corpus([], [])
    first_use: dict[str, str] = {}
    for where, found in items:
        if not isinstance(found, str) and found.id in first_use:
            found = f"the id {found.id!r} was already used at {first_use[found.id]}"
        if isinstance(found, str):
            corpus.quarantine.append(BadRow(where, found))
            continue
        first_use[found.id] = where
        corpus.documents.append(Document(found.id, found.text, found.context))
        if len(corpus.documents) == limit:
            break
    return corpus


def refuse_bad(quarantine: Sequence[BadRow], good: int, where: str, max_bad: float) -> None:
    """UserError if more than the share `max_bad` of all documents is in the quarantine; `good` are not."""
    bad = [row for row in quarantine if row.reason != EMPTY_FILE]
    total = len(bad) + good
    if not bad or len(bad) / total <= max_bad:
        return
    first = "".join(f"\n  {row.where}: {row.reason}" for row in bad[:3])
    raise UserError(
        f"{len(bad)} of {total} documents cannot be used ({len(bad) / total:.1%}), the first of them:{first}",
        where=where,
        allowed=f"at most {max_bad:.1%} (corpus.max_bad)",
        fix="repair them, or raise corpus.max_bad",
    )


def _items(path: Path, pattern: str, keys: Keys) -> Iterator[Item]:
    """The rows of whatever is at the path."""
    try:
        is_folder, is_file, exists = path.is_dir(), path.is_file(), path.exists()
        saved = is_folder and any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    except OSError as error:
        raise UserError(f"this path cannot be read: {error.strerror}", where=str(path)) from error
    if saved:
        return read_dataset(path, keys)
    if is_folder:
        return _folder_items(path, pattern, keys)
    if is_file and (is_table(path) or Path(path.name).match(pattern.rpartition("/")[2] or "*")):
        return read_file(path, path.name, keys)
    if exists:
        raise UserError(f"files of this kind are not read: {path.name}", where=str(path), allowed=FORMATS)
    raise UserError("there is nothing at this path", where=str(path), allowed=FORMATS, fix=_nearest(path))


def _folder_items(root: Path, pattern: str, keys: Keys) -> Iterator[Item]:
    """Files that match, in the order of their names; links that lead outside the folder are ignored."""
    try:
        found = sorted(root.glob(pattern), key=lambda file: file.as_posix())
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"this is no pattern for files: {error}", where=f"corpus.pattern = {pattern!r}") from error
    except OSError as error:
        raise UserError(f"this folder cannot be read: {error.strerror}", where=str(root)) from error
    inside = root.resolve()
    for file in found:
        name = file.relative_to(root)
        skipped = any(part.startswith(".") or part in SKIPPED_FOLDERS for part in name.parts)
        if not skipped and _is_file_inside(file, inside):
            yield from read_file(file, name.as_posix(), keys)


def _is_file_inside(file: Path, folder: Path) -> bool:
    try:
        return file.is_file() and file.resolve().is_relative_to(folder)
    except OSError:
        return True  # reading it will say why it cannot be read


def _nearest(path: Path) -> str:
    """The same path with its first missing part replaced by the existing name nearest to it."""
    missing = path.absolute()
    while not missing.parent.is_dir():
        missing = missing.parent
    try:
        names = [entry.name for entry in missing.parent.iterdir() if entry.exists()]
    except OSError:
        return ""
    close = get_close_matches(missing.name, names, n=1)
    return f"did you mean {missing.parent / close[0] / path.absolute().relative_to(missing)}?" if close else ""


def _advice(path: Path, pattern: str) -> str:
    """What to do about a corpus without documents."""
    files = (file for file in islice(path.rglob("*"), 10_000) if file.suffix and file.is_file())
    common = Counter(file.suffix for file in files).most_common(1)
    if not common or Path(f"x{common[0][0]}").match(pattern.rpartition("/")[2]):
        return "name a file or folder that holds documents"
    suffix, count = common[0]
    return f"the folder holds {count} {suffix} files: to read them, set corpus.pattern to '**/*{suffix}'"
