"""Rows of benchmark files, each with its place: JSON lines, JSON and Parquet, compressed or not.

Nothing here guesses: a row that is not an object, a field that is missing or of another type, is one UserError that
names the file and the row.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ra3.errors import UserError

FORMATS = ".jsonl, .json (each also .gz) or .parquet"
_REQUIRED: Any = object()


class Row:
    """One row: ``Row({"task_id": "HumanEval/0"}, "HumanEval.jsonl.gz:1").text("task_id")``."""

    def __init__(self, data: Any, where: str):
        """UserError unless the data is an object."""
        self.where = where
        if not isinstance(data, dict):
            raise self.wrong(f"is {_kind(data)}", "a JSON object")
        self.data: dict[str, Any] = data

    def text(self, key: str, default: str = _REQUIRED) -> str:
        """A field that is a string."""
        return self._get(key, str, default)

    def items(self, key: str, default: list = _REQUIRED) -> list:
        """A field that is a list."""
        return self._get(key, list, default)

    def mapping(self, key: str, default: dict = _REQUIRED) -> dict:
        """A field that is an object."""
        return self._get(key, dict, default)

    def number(self, key: str, default: float = _REQUIRED) -> float:
        """A field that is a number of at least 0."""
        found = self._get(key, (int, float), default)
        if isinstance(found, bool) or not 0 <= found < float("inf"):
            raise self.wrong(f"{key!r} is {json.dumps(found)}", "a number of at least 0")
        return found

    def texts(self, key: str, default: list = _REQUIRED) -> list[str]:
        """A field that is a list of strings."""
        found = self.items(key, default)
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(f"{key!r} holds something that is not a string", "a list of strings")
        return found

    def _get(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        found = self.data.get(key)
        if found is None and default is not _REQUIRED:
            return default
        if found is None:
            raise self.wrong(f"{key!r} is missing", f"it has: {', '.join(map(str, self.data)) or 'nothing'}")
        if not isinstance(found, kind):
            raise self.wrong(f"{key!r} is {_kind(found)}", _kind_names(kind))
        return found

    def wrong(self, what: str, allowed: str = "") -> UserError:
        """The error that says what is wrong with this row."""
        return UserError(f"this row cannot be used: {what}", where=self.where, allowed=allowed)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file. UserError for a file that cannot be read, is of another kind, or holds none."""
    rows = list(_rows(path))
    if not rows:
        raise UserError("the file holds no rows", where=str(path))
    return rows


def _rows(path: Path) -> Iterator[Row]:
    name = path.name.lower().removesuffix(".gz")
    if path.name.lower().endswith(".parquet"):
        yield from _parquet_rows(path)
    elif name.endswith(".jsonl"):
        for number, line in enumerate(_text(path).split("\n"), start=1):
            if line.strip():
                yield Row(_json(line, f"{path}:{number}"), f"{path}:{number}")
    elif name.endswith(".json"):
        found = _json(_text(path), str(path))
        for number, item in enumerate(found if isinstance(found, list) else [found], start=1):
            yield Row(item, f"{path}: row {number}")
    else:
        raise UserError(f"benchmark files of this kind are not read: {path.name}", where=str(path), allowed=FORMATS)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.name.lower().endswith(".gz") else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the file: {error}", where=str(path)) from error


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UserError("this row is nested too deeply", where=where) from error
    except ValueError as error:
        raise UserError(f"this is no valid JSON: {error}", where=where) from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=64):
                for item in batch.to_pylist():
                    number += 1
                    yield Row(item, f"{path}:{number}")
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"cannot read the file: {error}", where=str(path)) from error


def _kind(value: Any) -> str:
    names = {type(None): "null", str: "a string", list: "a list", dict: "an object", bool: "a truth value"}
    return names.get(type(value), "a number")


def _kind_names(kind: type | tuple[type, ...]) -> str:
    return {str: "a string", list: "a list", dict: "an object"}.get(kind, "a number")  # type: ignore[arg-type]
