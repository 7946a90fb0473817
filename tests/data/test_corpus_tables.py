"""Corpora with a row per document: JSONL, Parquet, saved data sets; bad rows are quarantined with their place."""

import gzip
import json

import pyarrow as pa
import pytest
from corpus_files import GOOD, jsonl, reasons, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ra3.data.documents import Document, read
from ra3.errors import UserError


def test_jsonl(tmp_path):
    rows = [
        {"text": "a\r\n", "context": "c", "id": "one"},
        {"text": "b", "context": None, "id": 7, "more": [1]},
        {"text": "\ud83d\ude00"},
    ]
    documents = read(jsonl(tmp_path, *rows)).documents
    assert documents == [Document("one", "a\r\n", "c"), Document("7", "b"), Document("rows.jsonl:3", "😀")]


def test_jsonl_with_other_keys_and_a_limit(tmp_path):
    path = jsonl(tmp_path, {"code": "a", "prompt": "p", "name": "n"}, {"code": "b"}, {"code": "c"})
    documents = read(path, columns=("code", "prompt", "name"), documents=2).documents
    assert documents == [Document("n", "a", "p"), Document("rows.jsonl:2", "b")]


def test_jsonl_gz_blank_lines_and_byte_order_mark(tmp_path):
    lines = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}'
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(lines))
    assert read(tmp_path / "r.jsonl.gz").documents == [Document("r.jsonl.gz:1", "a"), Document("r.jsonl.gz:4", "b")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"text": "a"', "is no valid JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"text": ' + b"1" * 5000 + b"}", "is no valid JSON: Exceeds the limit"),
        (b'{"text": "\xe9"}', "is not UTF-8: byte 0xe9 at 10"),
        (["text"], "is a list, not an object"),
        (None, "is null, not an object"),
        ({"code": "x", "lang": "py"}, "'text' is missing (it has: code, lang)"),
        ({}, "'text' is missing (it has: none)"),
        ({str(i): i for i in range(9)}, "'text' is missing (it has: 0, 1, 2, 3, 4, 5, 6, 7, ...)"),
        ({"text": None}, "'text' is null, not a string"),
        ({"text": ["x"]}, "'text' is a list, not a string"),
        ({"text": 3}, "'text' is a number, not a string"),
        ({"text": ""}, "'text' is empty"),
        ({"text": " \n\t"}, "'text' is empty"),
        ({"text": "a\0"}, "'text' holds a NUL character"),
        ({"text": "a\ud800"}, "'text' holds half of a surrogate pair, which is no character"),
        ({"text": "a", "context": 1}, "'context' is a number, not a string"),
        ({"text": "a", "context": "\udfff"}, "'context' holds half of a surrogate pair"),
        ({"text": "a", "id": 1.5}, "'id' is a number, not a string"),
        ({"text": "a", "id": True}, "'id' is a boolean, not a string"),
        ({"text": "a", "id": {}}, "'id' is an object, not a string"),
    ],
)
def test_bad_json_rows(tmp_path, row, reason):
    corpus = read(jsonl(tmp_path, GOOD, row, GOOD), max_bad=0.5)
    assert [d.id for d in corpus.documents] == ["rows.jsonl:1", "rows.jsonl:3"]
    ((place, found),) = reasons(corpus).items()
    assert place == "rows.jsonl:2" and found.startswith(reason)


def test_duplicate_ids(tmp_path):
    path = jsonl(tmp_path, {"text": "a", "id": "x"}, {"text": "b", "id": "y"}, {"text": "c", "id": "x"})
    corpus = read(path, max_bad=0.5)
    assert [d.text for d in corpus.documents] == ["a", "b"]
    assert reasons(corpus) == {"rows.jsonl:3": f"the id 'x' was already used at {path}:1"}


def test_a_damaged_gzip_file_keeps_what_came_before(tmp_path):
    rows = b"".join(json.dumps({"text": f"x = {i * i}\n"}).encode() + b"\n" for i in range(20_000))
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(rows)[:30_000])
    corpus = read(path)
    assert len(corpus.documents) > 100 and "nothing more can be read" in corpus.quarantine[-1].reason
    path.write_bytes(b"no gzip")
    with pytest.raises(UserError, match="Not a gzipped file"):
        read(path)


def table(rows, **types):
    return pa.table({key: pa.array(values, types.get(key)) for key, values in rows.items()})


def test_parquet(tmp_path):
    rows = {"text": ["a\r\n", None, "b"], "context": ["c", None, None], "id": [5, 6, 7], "other": [1.0, 2.0, 3.0]}
    parquet.write_table(table(rows, text=pa.large_string()), tmp_path / "t.parquet")
    corpus = read(tmp_path / "t.parquet", max_bad=0.5)
    assert corpus.documents == [Document("5", "a\r\n", "c"), Document("7", "b")]
    assert reasons(corpus) == {"t.parquet:2": "'text' is null, not a string"}


def test_parquet_with_many_rows_and_default_ids(tmp_path):
    parquet.write_table(table({"text": [f"x{i}" for i in range(1000)]}), tmp_path / "t.parquet", row_group_size=300)
    documents = read(tmp_path / "t.parquet").documents
    assert [d.text for d in documents] == [f"x{i}" for i in range(1000)]
    assert documents[999].id == "t.parquet:1000"


def test_bad_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(UserError, match="t.parquet:1: the file cannot be read"):
        read(path)
    parquet.write_table(table({"code": ["a"], "lang": ["b"]}), path)
    with pytest.raises(UserError, match=r"'text' is missing \(it has: code, lang\)"):
        read(path)
    parquet.write_table(table({"text": [b"a", b"\xff"]}, text=pa.binary()), path)
    with pytest.raises(UserError, match="'text' is bytes, not a string"):
        read(path)


def test_parquet_text_that_is_not_utf8(tmp_path):
    column = pa.array([b"ok", b"\xe9", b"fine"], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"text": column}), tmp_path / "t.parquet")
    corpus = read(tmp_path / "t.parquet", max_bad=0.5)
    assert [d.text for d in corpus.documents] == ["ok", "fine"]
    assert reasons(corpus)["t.parquet:2"].startswith("is not UTF-8: byte 0xe9")


def test_a_folder_of_tables(tmp_path):
    jsonl(tmp_path, {"text": "a"}, {"text": "b"}, name="1.jsonl")
    jsonl(tmp_path, {"text": "c"}, name="2.jsonl")
    assert [d.id for d in read(tmp_path, pattern="*.jsonl").documents] == ["1.jsonl:1", "1.jsonl:2", "2.jsonl:1"]
    with pytest.raises(UserError, match=r"no document(.|\n)*holds 2 .jsonl files: .*corpus.pattern to '\*\*/\*.jsonl'"):
        read(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_saved_data_sets(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"text": ["a\n", "", "c"], "label": [1, 2, 3]})
    rows.save_to_disk(str(tmp_path / "one"))
    corpus = read(tmp_path / "one", max_bad=0.5)
    assert corpus.documents == [Document("one:1", "a\n"), Document("one:3", "c")]
    assert reasons(corpus) == {"one:2": "'text' is empty"}
    with pytest.raises(UserError, match="'code' is missing"):
        read(tmp_path / "one", columns=("code", "context", "id"))
    datasets.DatasetDict(train=rows).save_to_disk(str(tmp_path / "single"))
    assert len(read(tmp_path / "single", max_bad=0.5).documents) == 2
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match="several splits\n  allowed: .*/two/train, .*/two/test"):
        read(tmp_path / "two")
    write(tmp_path, broken_in_state__json="{}", broken_in_dataset_info__json="{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        read(tmp_path / "broken")


SCALAR = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON = SCALAR | st.lists(SCALAR) | st.dictionaries(st.text(), SCALAR)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from(["text", "context", "id", "x"]), st.text() | JSON), max_size=6))
def test_any_json_rows_end_in_documents_or_quarantine(tmp_path, rows):
    path = jsonl(tmp_path, *rows, GOOD)
    corpus = read(path, max_bad=1)
    assert len(corpus.documents) + len(corpus.quarantine) == len(rows) + 1
    assert len({d.id for d in corpus.documents}) == len(corpus.documents)
