"""Rows of files, each with its place: JSON lines, JSON, Parquet, and data sets saved by Hugging Face ``datasets``.

``read_rows`` streams and never stops at bad content: a row that cannot be used comes with its ``fault`` and the others
follow, as a corpus wants it. ``load_rows`` makes the first fault an error, as problems, benchmarks and samples want it.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ra3.errors import UserError, shown
from ra3.sandbox.inside.values import whole_number

FORMATS = ".jsonl, .json (each also .gz, .xz, .zst) or .parquet"
MAX_LINE = 2**28
"""Bytes of a line of JSON: more than any text that is allowed can take with its escapes."""
BATCH_ROWS = 64
"""Rows of a table that are in memory at a time: rows of contest problems hold megabytes of tests."""
MAX_NAMES = 40
"""Names of columns that a message lists."""
KINDS: dict[type, str] = {
    type(None): "null", bool: "a boolean", int: "a number", float: "a number",
    str: "a string", list: "a list", dict: "an object",
}  # fmt: skip
"""JSON's words for the Python types that it is read as."""
LFS_MARK = "version https://git-lfs.github.com/spec/"
LFS_FAULT = "is a Git LFS pointer, not the file itself: fetch that with `git lfs pull`"
Value = TypeVar("Value")
Numbered = Iterator[tuple[int, Any]]
"""A line or row, counted from 1, and its object, or a ValueError that says what is wrong with it."""
_REQUIRED: Any = object()


@dataclass(frozen=True)
class Row:
    """One row: ``Row("HumanEval.jsonl.gz", 1, {"task_id": "HumanEval/0"}).text("task_id") == "HumanEval/0"``.

    Reading a field is a UserError with the place if it is missing or of another type, or if the row has a fault.
    """

    file: str
    line: int
    """Counted from 1; in a file without lines the number of the row."""
    values: dict[str, Any]
    fault: str = ""
    """The reason why the row cannot be used: ``"is no valid JSON: ..."``."""

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    def get(self, key: str, kind: type[Value], default: Value = _REQUIRED) -> Value:
        """Return a field of this type: str, list, dict, or float for any number. With a default, null is missing."""
        found = self.values.get(key)
        if self.fault:
            raise self.wrong(self.fault)
        if found is None and default is not _REQUIRED:
            return default
        if key not in self.values:
            raise self.wrong(_missing(key, self.values))
        if _kind(found) != KINDS[kind]:
            raise self.wrong(f"{key!r} is {_kind(found)}, not {KINDS[kind]}")
        return found  # type: ignore[return-value]

    def text(self, key: str, default: str = _REQUIRED) -> str:
        """Return a field that is a string."""
        return self.get(key, str, default)

    def items(self, key: str, default: list = _REQUIRED) -> list:
        """Return a field that is a list."""
        return self.get(key, list, default)

    def texts(self, key: str, default: list = _REQUIRED) -> list[str]:
        """Return a field that is a list of strings."""
        found = self.items(key, default)
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(f"{key!r} holds something that is not a string", "a list of strings")
        return found

    def number(self, key: str, default: float = _REQUIRED) -> float:
        """Return a field that is a number of at least 0."""
        found = self.get(key, float, default)
        if not 0 <= found < 1e308:
            raise self.wrong(f"{key!r} is {shown(found)}", "a number of at least 0")
        return found

    def nested(self, key: str, default: dict = _REQUIRED) -> Row:
        """Return a field that is an object, as a row with the same place."""
        return self.inner(self.get(key, dict, default))

    def inner(self, value: Any) -> Row:
        """Return an object found inside this row as a row with the same place."""
        if not isinstance(value, dict):
            raise self.wrong(f"holds {_kind(value)} where an object should be")
        return Row(self.file, self.line, value)

    def decoded(self, key: str, text: str | None = None) -> Row:
        """Return the row with what JSON text says under a key: the text of that field, or one that stands for it."""
        found = _json(self.text(key) if text is None else text)
        if isinstance(found, ValueError):
            raise self.wrong(f"{key!r} {found}")
        return self.inner({**self.values, key: found})

    def wrong(self, what: str, allowed: str = "") -> UserError:
        """Make the error that says what is wrong with this row."""
        return UserError(what, where=self.where, allowed=allowed)


def read_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a file whose format is known, or of a folder that is a saved data set, in their order.

    ``columns``: what is read of a table, all if empty; the first of them must be there. UserError for a folder that is
    no saved data set or holds several splits.
    """
    return _rows(_numbered(path, columns), printable(path))


def read_lines(lines: BinaryIO, file: str) -> Iterator[Row]:
    """Yield the rows of JSON lines from an open file, called ``file``, as they come."""
    return _rows(_objects(lines), file)


def _numbered(path: Path, columns: Sequence[str]) -> Numbered:
    if path.is_file() and is_lfs_pointer(path):
        yield 1, ValueError(LFS_FAULT)
    else:
        yield from (_saved if path.is_dir() else READERS[format_of(path)])(path, columns)


def _rows(numbered: Numbered, file: str) -> Iterator[Row]:
    number = 0
    try:
        for number, value in numbered:
            if isinstance(value, dict):
                yield Row(file, number, value)
            else:
                fault = str(value) if isinstance(value, ValueError) else f"is {_kind(value)}, not an object"
                yield Row(file, number, {}, fault)
    except UserError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, KeyError) as error:
        what = "nothing more can be read" if number else "the file cannot be read"
        yield Row(file, number + 1, {}, f"{what}: {_first_line(error)}")


def column_names(path: Path) -> list[str]:
    """Return the names that a table gives its columns; of JSON lines the keys of the first row that is an object."""
    return next((list(row.values) for row in read_rows(path) if not row.fault), [])


def load_rows(path: Path) -> list[Row]:
    """Read all rows of a file. UserError for the first bad one, and for a file of another kind or without rows."""
    if not (path.is_dir() or format_of(path)):
        raise UserError(f"files of this kind are not read: {path.name}", where=str(path), allowed=FORMATS)
    rows = list(read_rows(path))
    if bad := next((row for row in rows if row.fault), None):
        raise bad.wrong(bad.fault)
    if not rows:
        raise UserError("the file holds no rows", where=str(path))
    return rows


def format_of(path: Path) -> str:
    """Return the key of READERS that a file's name ends with, before an ending of OPENERS; "" if it has none."""
    name = path.name.lower()
    name = name.removesuffix(next((suffix for suffix in OPENERS if name.endswith(suffix)), ""))
    return next((suffix for suffix in READERS if name.endswith(suffix)), "")


def is_lfs_pointer(path: Path) -> bool:
    """Say whether a file is what Git LFS leaves in the place of a large one that was not fetched."""
    with path.open("rb") as file:
        return file.read(len(LFS_MARK)) == LFS_MARK.encode()


def _open_zstandard(path: Path) -> Any:
    import pyarrow

    return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))


OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstandard}
"""How to read a compressed file as it is unpacked, by the end of its name."""


def _open(path: Path) -> Any:
    return OPENERS.get(path.suffix.lower(), partial(open, mode="rb"))(path)


def _json_lines(path: Path, columns: Sequence[str]) -> Numbered:
    with _open(path) as lines:
        yield from _objects(lines)


def _objects(lines: BinaryIO) -> Numbered:
    for number, line in enumerate(iter(partial(lines.readline, MAX_LINE + 1), b""), 1):
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):  # on to the end of the line, without holding it
                line = lines.readline(MAX_LINE)
            yield number, ValueError(f"the line is larger than {MAX_LINE // 2**20} MiB")
        elif line.strip():
            yield number, _json(line)


def _json_list(path: Path, columns: Sequence[str]) -> Numbered:
    with _open(path) as file:
        found = _json(file.read())
    yield from enumerate(found if isinstance(found, list) else [found], 1)


def _parquet(path: Path, columns: Sequence[str]) -> Numbered:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield from _cells(file.iter_batches(BATCH_ROWS, columns=_present(columns, file.schema_arrow.names)))
    except ArrowException as error:
        raise ValueError(_first_line(error)) from error


def _saved(path: Path, columns: Sequence[str]) -> Numbered:
    """Rows of what ``datasets.Dataset.save_to_disk`` wrote, or of a DatasetDict with one split."""
    import datasets

    try:
        table = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if pointer := next(filter(is_lfs_pointer, path.rglob("*.arrow")), None):
            raise UserError(LFS_FAULT, where=str(pointer)) from error
        raise UserError(f"this saved data set cannot be loaded: {_first_line(error)}", where=str(path)) from error
    if isinstance(table, datasets.DatasetDict):
        if len(table) != 1:
            splits = ", ".join(str(path / str(split)) for split in table)
            raise UserError("this data set has several splits", where=str(path), allowed=splits, fix="name one of them")
        (table,) = table.values()
    wanted = _present(columns, table.column_names)
    yield from _cells((table.select_columns(wanted) if wanted else table).with_format("arrow").iter(BATCH_ROWS))


READERS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_list, ".parquet": _parquet}
"""By the end of a file's name."""


def _present(columns: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """Those of the columns that a table has; None for all of them."""
    if columns and columns[0] not in names:
        raise ValueError(_missing(columns[0], names))
    return [name for name in dict.fromkeys(columns) if name in names] or None


def _cells(batches: Iterable[Any]) -> Numbered:
    """The rows of pyarrow tables or record batches, cell by cell: text that is no UTF-8 spoils its own row only."""
    number = 0
    for batch in batches:
        columns = [(name, batch.column(name)) for name in batch.schema.names]
        for index in range(batch.num_rows):
            number += 1
            try:
                yield number, {name: column[index].as_py() for name, column in columns}
            except UnicodeDecodeError as error:
                yield number, ValueError(not_utf8(error))


def _json(data: bytes | str) -> Any:
    """The value of JSON text, or a ValueError that says why it is none."""
    try:
        return json.loads(data.strip().decode("utf-8-sig") if isinstance(data, bytes) else data, parse_int=whole_number)
    except UnicodeDecodeError as error:
        return ValueError(not_utf8(error))
    except RecursionError:
        return ValueError("is nested too deeply")
    except ValueError as error:
        return ValueError(f"is no valid JSON: {_first_line(error)}")


def _kind(value: Any) -> str:
    return KINDS.get(type(value), type(value).__name__)


def _missing(key: str, names: Iterable[Any]) -> str:
    there = list(map(str, names))
    more = ", ..." if len(there) > MAX_NAMES else ""
    return f"{key!r} is missing (it has: {', '.join(there[:MAX_NAMES]) or 'none'}{more})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say which byte is no UTF-8."""
    return f"is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start} ({error.reason})"


def printable(path: str | Path) -> str:
    """Return a path as text that every file and terminal can hold: bytes that are no UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
