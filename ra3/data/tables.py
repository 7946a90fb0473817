"""The rows of files: text files, JSONL, Parquet, saved Hugging Face data sets; each row with its place.

Nothing here raises for bad content: a row that cannot be used comes back as the reason. Text keeps every byte.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ra3.errors import UserError

MAX_BYTES = 2**26
"""A text larger than this (64 MiB) is refused: no source file is, and one would fill the memory."""
MAX_LINE = 2**28
"""Bytes of a line of JSON: more than any text that is allowed can take with its escapes."""
EMPTY_FILE = "the file is empty"
TABLES = (".jsonl", ".jsonl.gz", ".parquet")
"""Files that hold a row per document; any other file is one document."""


class Keys(NamedTuple):
    """The keys or columns of a row."""

    text: str
    context: str
    id: str


class Row(NamedTuple):
    """A usable row: ``Row("file.jsonl:12", "x = 1\\n", "")``."""

    id: str
    text: str
    context: str = ""


Item = tuple[str, Row | str]
"""Where a row stands (``file:line``), and the row or the reason why it cannot be used."""


def is_table(path: Path) -> bool:
    """The file holds a row per document."""
    return path.name.lower().endswith(TABLES)


def read_file(path: Path, name: str, keys: Keys) -> Iterator[Item]:
    """The rows of one file; ``name`` is what ids begin with where the rows have none of their own."""
    where, name = _writable(path), _writable(name)
    if not is_table(path):
        return iter([_read_text(path, where, name)])
    if path.suffix.lower() == ".parquet":
        return _table_rows(_parquet_batches(path, keys), where, name, keys)
    return _json_rows(path, where, name, keys)


def read_dataset(path: Path, keys: Keys) -> Iterator[Item]:
    """The rows of a folder that ``datasets.Dataset.save_to_disk`` wrote. UserError if it holds several splits."""
    import datasets

    try:
        table = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"this saved data set cannot be loaded: {_first_line(error)}", where=str(path)) from error
    if isinstance(table, datasets.DatasetDict):
        if len(table) != 1:
            splits = ", ".join(str(path / str(split)) for split in table)
            raise UserError("this data set has several splits", where=str(path), allowed=splits, fix="name one of them")
        table = next(iter(table.values()))
    names = table.column_names
    wanted = [key for key in dict.fromkeys(keys) if key in names]
    batches = table.select_columns(wanted).with_format("arrow").iter(batch_size=256)
    return _table_rows(_with_columns(batches, names, keys), _writable(path), _writable(path.name), keys)


def _read_text(path: Path, where: str, name: str) -> Item:
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        return f"{where}:1", f"cannot be read: {error.strerror}"
    if size > MAX_BYTES:
        return f"{where}:1", f"is larger than {MAX_BYTES // 2**20} MiB"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"{where}:{_line_of(data, error.start)}", _not_utf8(error)
    if not text.strip():
        return f"{where}:1", EMPTY_FILE
    if "\0" in text:
        return f"{where}:{_line_of(data, data.index(0))}", "holds a NUL character"
    return f"{where}:1", Row(name, text)


def _json_rows(path: Path, where: str, name: str, keys: Keys) -> Iterator[Item]:
    number = 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as lines:
            for number, line in enumerate(iter(partial(lines.readline, MAX_LINE + 1), b""), 1):
                if len(line) > MAX_LINE:
                    if not line.endswith(b"\n"):
                        _skip_line(lines)
                    yield f"{where}:{number}", f"the line is larger than {MAX_LINE // 2**20} MiB"
                elif line.strip():
                    yield f"{where}:{number}", _parse(line, f"{name}:{number}", keys)
    except (OSError, EOFError, zlib.error) as error:
        yield f"{where}:{number + 1}", f"nothing more can be read: {_first_line(error)}"


def _skip_line(lines: Any) -> None:
    """Reads on to the end of the line without holding it."""
    while (piece := lines.readline(MAX_LINE)) and not piece.endswith(b"\n"):
        pass


def _parse(line: bytes, name: str, keys: Keys) -> Row | str:
    try:
        row = json.loads(line.strip().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {_first_line(error)}"
    return _row(row, name, keys) if isinstance(row, dict) else f"is a JSON {_kind(row)}, not an object"


def _parquet_batches(path: Path, keys: Keys) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        wanted = [key for key in dict.fromkeys(keys) if key in names]
        yield from _with_columns(file.iter_batches(batch_size=256, columns=wanted), names, keys)


def _with_columns(batches: Iterable[Any], names: list[str], keys: Keys) -> Iterator[Any]:
    if keys.text not in names:
        raise ValueError(_no_key(keys.text, names, "column"))
    yield from batches


def _table_rows(batches: Iterator[Any], where: str, name: str, keys: Keys) -> Iterator[Item]:
    """Rows of pyarrow tables or record batches, counted from 1."""
    import pyarrow

    number = 0
    try:
        for batch in batches:
            columns = {key: batch.column(key) for key in keys if key in batch.schema.names}
            for index in range(batch.num_rows):
                number += 1
                yield f"{where}:{number}", _table_row(columns, index, f"{name}:{number}", keys)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        yield f"{where}:{number + 1}", f"nothing more can be read: {_first_line(error)}"


def _table_row(columns: Mapping[str, Any], index: int, name: str, keys: Keys) -> Row | str:
    try:
        row = {key: column[index].as_py() for key, column in columns.items()}
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    return _row(row, name, keys)


def _row(row: Mapping[str, Any], name: str, keys: Keys) -> Row | str:
    """A row's text, context and id, or why it cannot be used."""
    if keys.text not in row:
        return _no_key(keys.text, list(row), "key")
    context = row.get(keys.context)
    found = Row(_own_id(row.get(keys.id), name), row[keys.text], "" if context is None else context)
    for key, value in ((keys.text, found.text), (keys.context, found.context), (keys.id, found.id)):
        if problem := _problem(value):
            return f"{key!r} {problem}"
    return found if found.text.strip() else f"{keys.text!r} is empty"


def _own_id(value: Any, name: str) -> Any:
    """The id that a row gives itself, a whole number as text; ``name`` where it gives none."""
    if value in (None, ""):
        return name
    return str(value) if type(value) is int else value


def _problem(value: Any) -> str | None:
    """Why a value is no text that a tokenizer and a file can hold, or None."""
    if not isinstance(value, str):
        return f"is {_kind(value)}, not text"
    if "\0" in value:
        return "holds a NUL character"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return f"is larger than {MAX_BYTES // 2**20} MiB" if size > MAX_BYTES else None


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _no_key(key: str, names: list[str], what: str) -> str:
    return f"no {what} {key!r} (it has: {', '.join(names[:8]) or 'none'}{', ...' if len(names) > 8 else ''})"


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start} ({error.reason})"


def _line_of(data: bytes, position: int) -> int:
    return 1 + data.count(b"\n", 0, position)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _writable(path: str | Path) -> str:
    """A path as text that every file and terminal can hold: bytes that are no UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
