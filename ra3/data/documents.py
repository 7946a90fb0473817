"""Documents from a folder of files, JSONL, Parquet or a saved Hugging Face data set.

Text is kept byte for byte (line ends, a byte order mark, a missing final newline). What cannot be used goes to the
quarantine with its place and the reason; too much of it, or no document at all, is a UserError.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from ra3.data.tables import Row, format_of, not_utf8, printable, read_rows
from ra3.errors import UserError
from ra3.seeds import derive

MAX_BYTES = 2**26
"""A text larger than this (64 MiB) is refused: no source file is, and one would fill the memory."""
EMPTY_FILE = "the file is empty"
TABLES = (".jsonl", ".parquet")
"""Formats of files that hold a row per document; any other file, .json too, is one document."""
SKIPPED_FOLDERS = ("__pycache__", "site-packages", "dist-packages")
"""Folders below a corpus folder that are no part of it, as are hidden ones."""
FORMATS = "a folder, one of .jsonl, .jsonl.gz, .parquet, or a folder saved by Hugging Face datasets"


@dataclass(frozen=True)
class Truth:
    """The true intentions of a document, one entry for each, in order."""

    boundaries: tuple[int, ...]
    """The step at which the intention belongs."""
    chains: tuple[tuple[str, ...], ...]
    """The names it goes through: ``("ba", "ke", "zu", "evens")``."""
    comments: tuple[str, ...]
    """The intention as a line, written in the text or not: ``"# ba ke zu evens\\n"``."""

    def before(self, end: int) -> Truth:
        """Return the entries that belong to steps before ``end``."""
        count = sum(boundary < end for boundary in self.boundaries)
        return Truth(self.boundaries[:count], self.chains[:count], self.comments[:count])


@dataclass(frozen=True)
class Document:
    """One piece of expert text: ``Document("pkg/mod.py", "x = 1\\n")``."""

    id: str
    """Stable and unique: ``pkg/mod.py`` or ``file.jsonl:12``."""
    text: str
    """Expert text, cut into steps."""
    context: str = ""
    """Prompt before the text: conditioned on, never annotated, carries no loss."""
    truth: Truth | None = None
    """Embedded worlds only."""


@dataclass(frozen=True)
class BadRow:
    """A row or document that could not be used: ``BadRow("train.jsonl:7", "'text' is missing (it has: code)")``."""

    where: str
    """``file:line``, or the id of a document."""
    reason: str


@dataclass(frozen=True)
class Corpus:
    """The documents of a corpus in their order, and what could not be used."""

    documents: list[Document]
    quarantine: list[BadRow]

    def write_quarantine(self, path: str | Path) -> None:
        """Write one JSON object a line: ``{"where": "data/train.jsonl:7", "reason": "..."}``."""
        rows = [json.dumps({"where": row.where, "reason": row.reason}) + "\n" for row in self.quarantine]
        Path(path).write_text("".join(rows), encoding="ascii", newline="\n")


Item = tuple[str, Document | str]
"""The place of a document, and the document or the reason why it cannot be used."""


def read(
    path: str | Path, pattern: str = "**/*.py", columns: tuple[str, str, str] = ("text", "context", "id"),
    documents: int = 0, max_bad: float = 0.1,
) -> Corpus:  # fmt: skip
    """Read the corpus at ``path``: at most ``documents`` of its documents (0: all), files in the order of their names.

    Raises UserError if the path or the format is wrong, if more than the share ``max_bad`` cannot be used, or if there
    is no document. An empty file is quarantined but does not count as bad: packages are full of them.
    """
    path, corpus, first_use = Path(path).expanduser(), Corpus([], []), {}
    for where, found in _items(path, pattern, columns):
        if isinstance(found, Document) and found.id in first_use:
            found = f"the id {found.id!r} was already used at {first_use[found.id]}"
        if isinstance(found, str):
            corpus.quarantine.append(BadRow(where, found))
            continue
        first_use[found.id] = where
        corpus.documents.append(found)
        if len(corpus.documents) == documents:
            break
    refuse_bad(corpus.quarantine, len(corpus.documents), str(path), max_bad)
    if not corpus.documents:
        raise UserError("there is no document here", where=f"{path} (pattern {pattern})", fix=_advice(path, pattern))
    return corpus


def split_heldout(documents: Sequence[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Return (training, held out): documents are held out by the hash of their id, whatever others there are."""
    held = [derive(seed, "heldout", document.id) < share * 2**63 for document in documents]
    pairs = list(zip(documents, held, strict=True))
    return [document for document, out in pairs if not out], [document for document, out in pairs if out]


def refuse_bad(quarantine: Sequence[BadRow], good: int, where: str, max_bad: float) -> None:
    """Raise UserError if more than the share `max_bad` of all documents is in the quarantine; `good` are not."""
    bad = [row for row in quarantine if row.reason != EMPTY_FILE]
    total = len(bad) + good
    if not bad or len(bad) / total <= max_bad:
        return
    first = "".join(f"\n  {row.where}: {row.reason}" for row in bad[:3])
    raise UserError(
        f"{len(bad)} of {total} documents cannot be used ({len(bad) / total:.1%}), the first of them:{first}",
        where=where, allowed=f"at most {max_bad:.1%} (corpus.max_bad)", fix="repair them, or raise corpus.max_bad",
    )  # fmt: skip


def _items(path: Path, pattern: str, keys: Sequence[str]) -> Iterator[Item]:
    """The documents of whatever is at the path."""
    try:
        saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        is_folder, is_file, exists = path.is_dir(), path.is_file(), path.exists()
    except OSError as error:
        raise UserError(f"this path cannot be read: {error.strerror}", where=str(path)) from error
    if is_folder and not saved:
        return _folder_items(path, pattern, keys)
    if saved or is_file and (format_of(path) in TABLES or Path(path.name).match(pattern.rpartition("/")[2] or "*")):
        return _file_items(path, path.name, keys)
    if exists:
        raise UserError(f"files of this kind are not read: {path.name}", where=str(path), allowed=FORMATS)
    raise UserError("there is nothing at this path", where=str(path), allowed=FORMATS, fix=_nearest(path))


def _folder_items(root: Path, pattern: str, keys: Sequence[str]) -> Iterator[Item]:
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
        if any(part.startswith(".") or part in SKIPPED_FOLDERS for part in name.parts):
            continue
        try:
            if not (file.is_file() and file.resolve().is_relative_to(inside)):
                continue
        except OSError:
            pass  # reading it will say why it cannot be read
        yield from _file_items(file, name.as_posix(), keys)


def _file_items(path: Path, name: str, keys: Sequence[str]) -> Iterator[Item]:
    """The documents of one file or saved data set; ``name`` begins the ids of rows that have none of their own."""
    if format_of(path) in TABLES or path.is_dir():
        return ((row.where, _row_document(row, printable(name), *keys)) for row in read_rows(path, keys))
    line, found = _text_document(path, printable(name))
    return iter([(f"{printable(path)}:{line}", found)])


def _text_document(path: Path, name: str) -> tuple[int, Document | str]:
    """A file of text as one document, or the line and the reason why it is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return 1, f"is larger than {MAX_BYTES // 2**20} MiB"
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        return 1, f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        return 1 + error.object.count(b"\n", 0, error.start), not_utf8(error)
    fault = _fault(text) if text.strip() else EMPTY_FILE
    line = 1 + text.count("\n", 0, text.index("\0")) if "\0" in text else 1
    return line, fault or Document(name, text)


def _row_document(row: Row, name: str, text_key: str, context_key: str, id_key: str) -> Document | str:
    """A row as a document. An id may be a whole number; one that is empty becomes ``name:line``."""
    number = row.values.get(id_key)
    try:
        text, context = row.text(text_key), row.text(context_key, "")
        own_id = str(number) if type(number) is int else row.text(id_key, "")
    except UserError as error:
        return error.what
    for key, found in ((text_key, text), (context_key, context), (id_key, own_id)):
        if fault := _fault(found):
            return f"{key!r} {fault}"
    return Document(own_id or f"{name}:{row.line}", text, context) if text.strip() else f"{text_key!r} is empty"


def _fault(text: str) -> str | None:
    """Say why a tokenizer or a file cannot hold a string; None if they can."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return f"is larger than {MAX_BYTES // 2**20} MiB" if size > MAX_BYTES else None


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
    """Suggest what to do about a corpus without documents."""
    files = (file for file in islice(path.rglob("*"), 10_000) if file.suffix and file.is_file())
    common = Counter(file.suffix for file in files).most_common(1)
    if not common or Path(f"x{common[0][0]}").match(pattern.rpartition("/")[2]):
        return "name a file or folder that holds documents"
    suffix, count = common[0]
    return f"the folder holds {count} {suffix} files: to read them, set corpus.pattern to '**/*{suffix}'"
