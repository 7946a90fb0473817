"""Rows of files: every format gives the same rows with their places, and every wrong field is told with its place."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from ra3.data.tables import Row, format_of, load_rows, read_rows
from ra3.errors import UserError

ROWS = [{"id": "a", "tests": [1, 2]}, {"id": "b", "tests": []}]


def written(folder, name):
    path = folder / name
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        lines = "\n\n".join(map(json.dumps, ROWS)) if "jsonl" in name.lower() else json.dumps(ROWS)
        path.write_bytes(gzip.compress(lines.encode()) if name.lower().endswith(".gz") else lines.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "A.JSONL.gz", "a.json", "a.json.gz", "a.parquet"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = written(tmp_path, name)
    second = 3 if "jsonl" in name.lower() else 2  # a blank line is none
    assert load_rows(path) == [Row(str(path), 1, ROWS[0]), Row(str(path), second, ROWS[1])]
    assert load_rows(path)[1].where == f"{path}:{second}"


def test_only_the_columns_that_are_wanted_are_read(tmp_path):
    path = written(tmp_path, "a.parquet")
    assert [row.values for row in read_rows(path, ("id", "text"))] == [{"id": "a"}, {"id": "b"}]
    (row,) = read_rows(path, ("text", "id"))
    assert row.fault == "the file cannot be read: 'text' is missing (it has: id, tests)" and row.where == f"{path}:1"


def test_a_fault_stands_between_the_rows_or_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id"\n{"id": "\xff"}\n[]\n{"id": 2}\n')
    rows = list(read_rows(path))
    assert [row.line for row in rows] == [1, 2, 3, 4, 5] and [bool(row.fault) for row in rows] == [0, 1, 1, 1, 0]
    assert rows[3].fault == "is a list, not an object"
    with pytest.raises(UserError, match=rf"^{path}:2: is no valid JSON"):
        load_rows(path)
    with pytest.raises(UserError, match=rf"^{path}:4: is a list, not an object"):
        rows[3].text("id", "without")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda row: row.text("no"), r"'no' is missing \(it has: text, number, flag, list, object, json, null\)"),
        (lambda row: row.text("null"), "'null' is null, not a string"),
        (lambda row: row.text("number"), "'number' is a number, not a string"),
        (lambda row: row.number("text"), "'text' is a string, not a number"),
        (lambda row: row.number("flag"), "'flag' is a boolean, not a number"),
        (lambda row: Row("f", 3, {"n": float("nan")}).number("n"), "'n' is NaN"),
        (lambda row: Row("f", 3, {"n": -1}).number("n"), "'n' is -1\n  allowed: a number of at least 0"),
        (lambda row: row.texts("list"), "'list' holds something that is not a string"),
        (lambda row: row.nested("list"), "'list' is a list, not an object"),
        (lambda row: row.inner(None), "holds null where an object should be"),
        (lambda row: row.decoded("text"), "'text' is no valid JSON"),
        (lambda row: row.decoded("json").nested("json").text("deep"), "'deep' is a number, not a string"),
        (lambda row: row.decoded("json", "[" * 100_000), "'json' is nested too deeply"),
    ],
)
def test_a_wrong_field_is_told_with_its_place(read, message):
    values = {"text": "x", "number": 1.5, "flag": True, "list": [1], "object": {}, "json": '{"deep": 7}', "null": None}
    with pytest.raises(UserError, match=f"^f:3: {message}"):
        read(Row("f", 3, values))


def test_fields_that_are_left_out_or_null_have_their_default():
    row = Row("f", 1, {"null": None, "zero": 0, "empty": ""})
    assert row.text("null", "d") == row.text("no", "d") == "d" and row.text("empty", "d") == ""
    assert row.number("zero", 7) == 0 and row.number("null", 7) == 7
    assert row.items("null", []) == [] and row.nested("no", {"a": "b"}).text("a") == "b"


def test_formats_go_by_the_name(tmp_path):
    names = {"a.jsonl": ".jsonl", "a.b.JSON.GZ": ".json", "x.parquet": ".parquet", "a.py": "", "jsonl": "", "a.gz": ""}
    assert {name: format_of(tmp_path / name) for name in names} == names
    with pytest.raises(UserError, match=r"files of this kind are not read: a.csv\n  allowed: .jsonl, .json"):
        load_rows(tmp_path / "a.csv")
    with pytest.raises(UserError, match="a.jsonl:1: the file cannot be read: .*No such file"):
        load_rows(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(UserError, match="the file holds no rows"):
        load_rows(tmp_path / "a.jsonl")
