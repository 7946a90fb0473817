"""Documents from a folder of files, from JSON lines, Parquet or a saved Hugging Face data set, one after another.

Text is kept byte for byte (line ends, a byte order mark, a missing final newline). What cannot be used goes to the
quarantine with its place and the reason; too much of it, or no document at all, is a UserError.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from ra3.config.load import path_of
from ra3.data.documents import BadRow, Corpus, Document, refuse_bad
from ra3.data.filters import RULES, Sieve
from ra3.data.functions import cut_at_functions
from ra3.data.tables import LFS_FAULT, LFS_MARK, Row, column_names, format_of, not_utf8, printable, read_rows
from ra3.errors import UserError, shown

MAX_BYTES = 2**26
"""A text larger than this (64 MiB) is refused: no source file is, and one would fill the memory."""
TABLES = (".jsonl", ".ndjson", ".parquet")
"""Formats of files that hold a row per document; any other file, .json too, is one document."""
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")
"""Name of a part of a split, as the Hugging Face hub has them: train-00000-of-00206.parquet."""
SKIPPED_FOLDERS = ("__pycache__", "site-packages", "dist-packages")
"""Folders below a corpus folder that are no part of it, as are hidden ones."""
FORMATS = "a folder, one of .jsonl (also .gz, .xz, .zst), .parquet, or a folder saved by Hugging Face datasets"
PATTERN, COLUMNS = "**/*.py", ("text", "context", "id")
"""What is read where nothing else is asked for."""
TEXT_COLUMNS = ("text", "content", "code")
"""Where the text of a row is then looked for, in this order: most data sets, The Stack, many sets of functions."""


def read(
    path: str | Path, pattern: str = PATTERN, columns: tuple[str, str, str] = COLUMNS, documents: int = 0,
    max_bad: float = 0.1, unit: str = "file", filtered: bool = False,
) -> Corpus:  # fmt: skip
    """Read the corpus at ``path``: at most ``documents`` of its documents (0: all), files in the order of their names.

    Of a ``unit`` "function" a file or row becomes several documents. With ``filtered`` the rules of
    ``ra3.data.filters`` are applied to files and rows. Raises UserError if the path or the format is wrong, if more
    than the share ``max_bad`` is faulty, or if there is no document; what a rule leaves out, empty files among it, is
    not faulty.
    """
    path, reader = path_of(path), _Reader(pattern, columns)
    sieve = Sieve(reader.notes) if filtered else None
    corpus = Corpus([], [], reader.sources, reader.notes)
    for found in reader.items(path):
        if sieve and isinstance(found, Document):
            found = sieve.sift(found)
        if isinstance(found, BadRow):
            corpus.quarantine.append(found)
            continue
        corpus.documents.extend(reader.units(found, unit))
        if documents and len(corpus.documents) >= documents:
            del corpus.documents[documents:]
            break
    refuse_bad(corpus.quarantine, len(corpus.documents), str(path), max_bad)
    if not corpus.documents:
        advice = _advice(path, pattern, corpus)
        raise UserError("there is no document here", where=f"{path} (pattern {pattern})", fix=advice)
    return corpus


@dataclass(frozen=True)
class _Reader:
    """What was asked for, and what has been met so far."""

    pattern: str
    columns: tuple[str, str, str]
    ids: set[str] = field(default_factory=set)
    sources: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def items(self, path: Path) -> Iterator[Document | BadRow]:
        """The documents of whatever is at the path."""
        try:
            saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
            is_folder, is_file, exists = path.is_dir(), path.is_file(), path.exists()
        except OSError as error:
            raise UserError(f"this path cannot be read: {error.strerror}", where=str(path)) from error
        if is_folder and not saved:
            return self._folder(path)
        if saved or is_file and (format_of(path) in TABLES or _matches(path, self.pattern)):
            return self._file(path, path.name)
        if exists:
            raise UserError(f"files of this kind are not read: {path.name}", where=str(path), allowed=FORMATS)
        raise UserError("there is nothing at this path", where=str(path), allowed=FORMATS, fix=_nearest(path))

    def units(self, document: Document, unit: str) -> list[Document]:
        """The documents that a file or row becomes."""
        if unit == "file":
            return [document]
        if not (pieces := cut_at_functions(document)):
            self.notes["kept whole, being no Python or with a context"] += 1
            return [document]
        return [replace(piece, id=self._unused(piece.id, piece.id)) for piece in pieces]

    def _folder(self, root: Path) -> Iterator[Document | BadRow]:
        """The files that match the pattern; where that was left as it is and none does, the tables."""
        files = _files(root, self.pattern)
        if not files and self.pattern == PATTERN:
            files = _tables(root)
        for file in files:
            yield from self._file(file, file.relative_to(root).as_posix())

    def _file(self, path: Path, name: str) -> Iterator[Document | BadRow]:
        """The documents of one file or saved data set; ``name`` begins the ids of rows that have none of their own."""
        if format_of(path) in TABLES or path.is_dir():
            yield from self._rows(path, printable(name))
            return
        self.sources["files"] += 1
        found = _text_document(path, printable(name))
        yield found if isinstance(found, BadRow) else replace(found, id=self._unused(found.id, found.id))

    def _rows(self, path: Path, name: str) -> Iterator[Document | BadRow]:
        """The documents of a table; its text stands where it was said to, or in the first of TEXT_COLUMNS there is."""
        text_column, *others = self.columns
        if self.columns == COLUMNS:
            there = column_names(path)
            text_column = next((column for column in TEXT_COLUMNS if column in there), text_column)
        for row in read_rows(path, (text_column, *others)):
            self.sources["rows"] += 1
            found = _row_document(row, text_column, *others)
            if isinstance(found, Document):
                if text_column != self.columns[0]:
                    self.notes[f"texts found under {text_column!r}"] += 1
                found = replace(found, id=self._unused(found.id, f"{name}:{row.line}"))
            yield found

    def _unused(self, own: str, place: str) -> str:
        """The id of a document: its own or, without one or where that was used before, its place."""
        found = own or place
        if found in self.ids:
            self.notes["ids used before, replaced by file:line"] += 1
            found = place
        while found in self.ids:
            found += "'"
        self.ids.add(found)
        return found


def _files(root: Path, pattern: str) -> list[Path]:
    """The files that match, in the order of their names; links that lead outside the folder are ignored."""
    try:
        found = sorted(root.glob(pattern), key=lambda file: file.as_posix())
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"this is no pattern for files: {error}", where=f"corpus.pattern = {pattern!r}") from error
    except OSError as error:
        raise UserError(f"this folder cannot be read: {error.strerror}", where=str(root)) from error
    inside, files = root.resolve(), []
    for file in found:
        if any(part.startswith(".") or part in SKIPPED_FOLDERS for part in file.relative_to(root).parts):
            continue
        try:
            if not (file.is_file() and file.resolve().is_relative_to(inside)):
                continue
        except OSError:
            pass  # reading it will say why it cannot be read
        files.append(file)
    return files


def _tables(root: Path) -> list[Path]:
    """The tables of a folder. UserError where their names say that they are several splits."""
    files = [file for file in _files(root, "**/*") if format_of(file) in TABLES]
    splits = sorted({found[1] for file in files if (found := _SHARD.match(file.name))})
    if len(splits) > 1:
        patterns = ", ".join(f"**/{split}-*" for split in splits)
        raise UserError("these tables are several splits", str(root), patterns, "choose one by corpus.pattern")
    return files


def _matches(path: Path, pattern: str) -> bool:
    return Path(path.name).match(pattern.rpartition("/")[2] or "*")


def _text_document(path: Path, name: str) -> Document | BadRow:
    """A file of text as one document, or the reason why it is none."""
    place = printable(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            return BadRow(f"{place}:1", f"is larger than {MAX_BYTES // 2**20} MiB")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        return BadRow(f"{place}:1", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        return BadRow(f"{place}:{line}", not_utf8(error))
    if not text.strip():
        return BadRow(f"{place}:1", "the file is empty", "empty")
    if text.startswith(LFS_MARK):
        return BadRow(f"{place}:1", LFS_FAULT)
    if fault := _fault(text):
        line = 1 + text.count("\n", 0, max(0, text.find("\0")))
        return BadRow(f"{place}:{line}", fault)
    return Document(name, text)


def _row_document(row: Row, text_column: str, context_column: str, id_column: str) -> Document | BadRow:
    """A row as a document. An id may be a whole number, or empty."""
    try:
        text, context = row.text(text_column), row.text(context_column, "")
        own_id = shown(number) if type(number := row.values.get(id_column)) is int else row.text(id_column, "")
    except UserError as error:
        return BadRow(row.where, error.what)
    for column, found in ((text_column, text), (context_column, context), (id_column, own_id)):
        if fault := _fault(found):
            return BadRow(row.where, f"{column!r} {fault}")
    return Document(own_id, text, context) if text.strip() else BadRow(row.where, f"{text_column!r} is empty")


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


def _advice(path: Path, pattern: str, corpus: Corpus) -> str:
    """Suggest what to do about a corpus without documents."""
    if left_out := corpus.left_out:
        ruled = bool(left_out.keys() & RULES)
        return f"everything was left out ({corpus.summary()}){', which corpus.filter = false undoes' if ruled else ''}"
    files = (file for file in islice(path.rglob("*"), 10_000) if file.suffix and file.is_file())
    common = Counter(file.suffix for file in files).most_common(1)
    if not common or _matches(Path(f"x{common[0][0]}"), pattern):
        return "name a file or folder that holds documents"
    suffix, count = common[0]
    return f"the folder holds {count} {suffix} files: to read them, set corpus.pattern to '**/*{suffix}'"
