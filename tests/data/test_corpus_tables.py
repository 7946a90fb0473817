"""Corpora with a row per document: JSONL, Parquet, saved data sets; bad rows are quarantined with their place."""

import gzip
import json
import lzma
from functools import partial

import pyarrow as pa
import pytest
from corpus_files import GOOD, jsonl, reasons, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ra3.data.corpus import read
from ra3.data.documents import Document
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
        (b'{"text": ' + b"1" * 5000 + b"}", "'text' is a number, not a string"),
        (b'{"text": "\xe9"}', "is not UTF-8: byte 0xe9 at 10"),
        (["text"], "is a list, not an object"),
        (None, "is null, not an object"),
        ({"code": "x", "lang": "py"}, "'text' is missing (it has: code, lang)"),
        ({}, "'text' is missing (it has: none)"),
        ({str(i): i for i in range(9)}, "'text' is missing (it has: 0, 1, 2, 3, 4, 5, 6, 7, 8)"),
        ({str(i): i for i in range(41)}, f"'text' is missing (it has: {', '.join(map(str, range(40)))}, ...)"),
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


def test_ids_that_start_again_are_replaced_by_the_place(tmp_path):
    names = ["x", "y", "x", 0, 0, "rows.jsonl:7", "x"]
    path = jsonl(tmp_path, *({"text": str(n), "id": name} for n, name in enumerate(names)))
    corpus = read(path, max_bad=0)
    own = ["x", "y", "rows.jsonl:3", "0", "rows.jsonl:5", "rows.jsonl:7", "rows.jsonl:7'"]
    assert [d.id for d in corpus.documents] == own
    assert "ids used before, replaced by file:line: 3" in corpus.summary()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.parquet"])
def test_the_text_is_found_under_other_names(tmp_path, name):
    rows = [{"hexsha": "ab", "code": "no", "content": f"x = {i}\n"} for i in range(3)]
    if name.endswith("parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        jsonl(tmp_path, *rows, name=name)
    corpus = read(tmp_path / name)
    assert [d.text for d in corpus.documents] == ["x = 0\n", "x = 1\n", "x = 2\n"]
    assert corpus.summary() == "3 rows -> 3 documents, 18 characters; texts found under 'content': 3"
    with pytest.raises(UserError, match=r"'body' is missing \(it has: .*content(.|\n)*corpus.columns"):
        read(tmp_path / name, columns=("body", "context", "id"))


@pytest.mark.parametrize("ending", ["gz", "xz", "zst"])
def test_compressed_lines_are_read_as_they_are_unpacked(tmp_path, ending):
    rows = b"".join(json.dumps({"text": f"x = {i * i}\n"}).encode() + b"\n" for i in range(20_000))
    zstandard = partial(pa.compress, codec="zstd", asbytes=True)
    pack = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard}[ending]
    path = tmp_path / f"rows.jsonl.{ending}"
    path.write_bytes(pack(rows) + pack(b'{"text": "the second frame"}\n'))
    assert [d.text for d in read(path).documents[-2:]] == [f"x = {19_999**2}\n", "the second frame"]
    path.write_bytes(pack(rows)[:30_000])
    corpus = read(path)
    assert corpus.documents and "nothing more can be read" in corpus.quarantine[-1].reason
    path.write_bytes(b"not packed")
    with pytest.raises(UserError, match="the file cannot be read"):
        read(path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n"


LFS_NAMES = ("a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.py", "a.jsonl.xz", "a.ndjson", "a 0-1.parquet")


@pytest.mark.parametrize("name", LFS_NAMES)
def test_pointers_of_git_lfs_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(UserError, match="is a Git LFS pointer, not the file itself: fetch that with `git lfs pull`"):
        read(tmp_path / name)


def test_a_limit_stops_reading(tmp_path):
    path = jsonl(tmp_path, *[{"text": f"x = {i}\n"} for i in range(5)], b"\xff", b"{")
    corpus = read(path, documents=3, max_bad=0)
    assert len(corpus.documents) == corpus.sources["rows"] == 3 and not corpus.quarantine


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
    parquet.write_table(table({"body": ["a"], "lang": ["b"]}), path)
    with pytest.raises(UserError, match=r"'text' is missing \(it has: body, lang\)"):
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
        read(tmp_path, pattern="*.c")
    write(tmp_path, README__md="Shards.\n")
    parquet.write_table(table({"text": ["d"]}), tmp_path / "0.parquet")
    assert [d.text for d in read(tmp_path).documents] == ["d", "a", "b", "c"]
    write(tmp_path, a__py="e\n")
    assert [d.text for d in read(tmp_path).documents] == ["e\n"]


def test_a_folder_of_several_splits(tmp_path):
    for split in ("train", "test"):
        parquet.write_table(table({"text": [split]}), tmp_path / f"{split}-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"several splits\n  allowed: \*\*/test-\*, \*\*/train-\*\n  fix: .*pattern"):
        read(tmp_path)
    assert [d.text for d in read(tmp_path, pattern="**/train-*").documents] == ["train"]


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
    write(tmp_path, pointer_in_state__json="{}", pointer_in_dataset_info__json="{}")
    write(tmp_path / "pointer", **{"data-00000-of-00001__arrow": POINTER})
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        read(tmp_path / "pointer")
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
