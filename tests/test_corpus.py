"""Corpora: bytes are kept, bad rows are quarantined with their place, and wrong settings get one clear message."""

import gzip
import json
import os

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ra3 import readers
from ra3.corpus import BadRow, Corpus, Document, read, split_heldout
from ra3.errors import UserError
from ra3.steps import split

GOOD = {"text": "x = 1\n"}


def write(folder, **files):
    """Writes {"a__py": "text"} as a.py; bytes as they are."""
    for name, content in files.items():
        path = folder / name.replace("__", ".").replace("_in_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def jsonl(folder, *rows, name="rows.jsonl"):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / name).write_bytes(b"\n".join(lines) + b"\n")
    return folder / name


def reasons(corpus):
    """{place: reason}, the place as file:line without folders."""
    return {row.where.rpartition("/")[2]: row.reason for row in corpus.quarantine}


def only_reason(path, **keys):
    """Why the single bad row of a file was refused."""
    (row,) = read(path, max_bad=1, **keys).quarantine
    return row.reason


def test_a_folder_is_read_in_the_order_of_names_and_byte_for_byte(tmp_path):
    texts = {"b": "\tx\r\ny\rz", "a_in_c": "\ufeffé = 1\n\n", "a": "a\n", "d": "日本"}
    write(tmp_path, **{f"{name}__py": text for name, text in texts.items()}, other__txt="no")
    found = {d.id: d.text for d in read(tmp_path).documents}
    assert list(found) == ["a.py", "a/c.py", "b.py", "d.py"]
    for name, text in found.items():
        assert text.encode() == (tmp_path / name).read_bytes()
        assert "".join(step.text for step in split(Document(name, text))) == text


def test_hidden_and_third_party_folders_are_skipped(tmp_path):
    write(tmp_path, a__py="a\n", __pycache__in_x__py="x")
    for name in (".venv", "__pycache__", "lib/site-packages"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "x.py").write_text("x\n")
    (tmp_path / ".hidden.py").write_text("x\n")
    (tmp_path / "folder.py").mkdir()
    assert [d.id for d in read(tmp_path).documents] == ["a.py"]


def test_links_are_followed_inside_the_folder_only(tmp_path):
    write(tmp_path, corpus_in_a__py="a\n", corpus_in_b_in_c__py="c\n", secret__py="s\n", out_in_d__py="d\n")
    root = tmp_path / "corpus"
    (root / "inside.py").symlink_to(root / "a.py")
    (root / "outside.py").symlink_to(tmp_path / "secret.py")
    (root / "broken.py").symlink_to(root / "nowhere.py")
    (root / "loop.py").symlink_to(root / "loop.py")
    (root / "out").symlink_to(tmp_path / "out")
    assert [d.id for d in read(root).documents] == ["a.py", "b/c.py", "inside.py"]


def test_a_pattern_cannot_leave_the_folder(tmp_path):
    write(tmp_path, corpus_in_a__py="a\n", secret__py="s\n")
    with pytest.raises(UserError, match="no document"):
        read(tmp_path / "corpus", pattern="../*.py")


@pytest.mark.parametrize("pattern", ["/etc/*", "", "**x"])
def test_a_pattern_that_is_none(tmp_path, pattern):
    with pytest.raises(UserError, match="pattern|no document"):
        read(tmp_path, pattern=pattern)


def test_a_single_file_is_one_document(tmp_path):
    write(tmp_path, a__py="a\n", b__csv="text\nx\n")
    assert read(tmp_path / "a.py").documents == [Document("a.py", "a\n")]
    with pytest.raises(UserError, match="files of this kind are not read.*\n.*allowed: .*jsonl"):
        read(tmp_path / "b.csv")


def test_bad_files_are_quarantined_with_line_and_reason(tmp_path):
    write(tmp_path, a__py="a\n", b__py=b"ok\nx = '\xe9t'\n", c__py="x\ny\0\n")
    write(tmp_path, d__py=b"", e__py=" \n", f__py=b"\xff\xfea\0")
    corpus = read(tmp_path, max_bad=0.8)
    assert [d.id for d in corpus.documents] == ["a.py"]
    assert reasons(corpus) == {
        "b.py:2": "is not UTF-8: byte 0xe9 at 8 (invalid continuation byte)",
        "c.py:2": "holds a NUL character",
        "d.py:1": "the file is empty",
        "e.py:1": "the file is empty",
        "f.py:1": "is not UTF-8: byte 0xff at 0 (invalid start byte)",
    }
    assert corpus.quarantine[0].where == f"{tmp_path}/b.py:2"


def test_empty_files_do_not_count_as_bad(tmp_path):
    write(tmp_path, a__py="a\n", b__py="", c__py="", d__py="")
    assert len(read(tmp_path, max_bad=0).documents) == 1


def test_an_unreadable_file_is_quarantined(tmp_path):
    write(tmp_path, a__py="a\n", b__py="b\n")
    (tmp_path / "b.py").chmod(0)
    if os.access(tmp_path / "b.py", os.R_OK):
        pytest.skip("this user may read everything")
    assert reasons(read(tmp_path, max_bad=1)) == {"b.py:1": "cannot be read: Permission denied"}


def test_an_enormous_document_is_quarantined(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 2**20)
    write(tmp_path, a__py="a\n", b__py="b" * (2**20 + 1))
    assert reasons(read(tmp_path, max_bad=1)) == {"b.py:1": "is larger than 1 MiB"}
    assert only_reason(jsonl(tmp_path, GOOD, {"text": "é" * 2**19 + "x"})) == "'text' is larger than 1 MiB"


def test_names_that_are_no_text(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    with open(os.fsencode(tmp_path) + b"/\xff/a.py", "wb") as file:
        file.write(b"a\n")
    (document,) = read(tmp_path).documents
    assert document.id == "\\udcff/a.py"


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
    documents = read(path, text_key="code", context_key="prompt", id_key="name", documents=2).documents
    assert documents == [Document("n", "a", "p"), Document("rows.jsonl:2", "b")]


def test_jsonl_gz_blank_lines_and_byte_order_mark(tmp_path):
    lines = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}'
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(lines))
    assert read(tmp_path / "r.jsonl.gz").documents == [Document("r.jsonl.gz:1", "a"), Document("r.jsonl.gz:4", "b")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"text": "a"', "is not JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        (b"[" * 100_000, "is not JSON: maximum recursion depth exceeded"),
        (b'{"text": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b'{"text": "\xe9"}', "is not UTF-8: byte 0xe9 at 10"),
        (["text"], "is a JSON list, not an object"),
        (None, "is a JSON null, not an object"),
        ({"code": "x", "lang": "py"}, "no key 'text' (it has: code, lang)"),
        ({}, "no key 'text' (it has: none)"),
        ({str(i): i for i in range(9)}, "no key 'text' (it has: 0, 1, 2, 3, 4, 5, 6, 7, ...)"),
        ({"text": None}, "'text' is null, not text"),
        ({"text": ["x"]}, "'text' is list, not text"),
        ({"text": 3}, "'text' is int, not text"),
        ({"text": ""}, "'text' is empty"),
        ({"text": " \n\t"}, "'text' is empty"),
        ({"text": "a\0"}, "'text' holds a NUL character"),
        ({"text": "a\ud800"}, "'text' holds half of a surrogate pair, which is no character"),
        ({"text": "a", "context": 1}, "'context' is int, not text"),
        ({"text": "a", "context": "\udfff"}, "'context' holds half of a surrogate pair"),
        ({"text": "a", "id": 1.5}, "'id' is float, not text"),
        ({"text": "a", "id": True}, "'id' is bool, not text"),
        ({"text": "a", "id": {}}, "'id' is dict, not text"),
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
    assert reasons(corpus) == {"t.parquet:2": "'text' is null, not text"}


def test_parquet_with_many_rows_and_default_ids(tmp_path):
    parquet.write_table(table({"text": [f"x{i}" for i in range(1000)]}), tmp_path / "t.parquet", row_group_size=300)
    documents = read(tmp_path / "t.parquet").documents
    assert [d.text for d in documents] == [f"x{i}" for i in range(1000)]
    assert documents[999].id == "t.parquet:1000"


def test_bad_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(UserError, match="t.parquet:1: nothing more can be read"):
        read(path)
    parquet.write_table(table({"code": ["a"], "lang": ["b"]}), path)
    with pytest.raises(UserError, match=r"no column 'text' \(it has: code, lang\)"):
        read(path)
    parquet.write_table(table({"text": [b"a", b"\xff"]}, text=pa.binary()), path)
    with pytest.raises(UserError, match="'text' is bytes, not text"):
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
    with pytest.raises(UserError, match="no column 'code'"):
        read(tmp_path / "one", text_key="code")
    datasets.DatasetDict(train=rows).save_to_disk(str(tmp_path / "single"))
    assert len(read(tmp_path / "single", max_bad=0.5).documents) == 2
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match="several splits\n  allowed: .*/two/train, .*/two/test"):
        read(tmp_path / "two")
    write(tmp_path, broken_in_state__json="{}", broken_in_dataset_info__json="{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        read(tmp_path / "broken")


def test_too_many_bad_rows_stop_with_the_first_three(tmp_path):
    path = jsonl(tmp_path, *[GOOD] * 6, *[{"text": i} for i in range(4)])
    assert len(read(path, max_bad=0.4).documents) == 6
    with pytest.raises(UserError) as caught:
        read(path, max_bad=0.39)
    message = str(caught.value)
    assert "4 of 10 documents cannot be used (40.0%)" in message and "at most 39.0% (corpus.max_bad)" in message
    assert message.count("is int, not text") == 3 and f"{path}:7:" in message


def test_no_documents(tmp_path):
    with pytest.raises(UserError, match=r"\(pattern \*\*/\*.py\): there is no document here"):
        read(tmp_path)
    write(tmp_path, rows__jsonl=b"\n\n")
    with pytest.raises(UserError, match="no document"):
        read(tmp_path / "rows.jsonl")


def test_a_wrong_path_names_the_nearest_one(tmp_path):
    write(tmp_path, corpus_in_train__jsonl="{}", zebra__txt="")
    for wrong in ("corpsu/train.jsonl", "corpus/trian.jsonl"):
        with pytest.raises(UserError, match=f"nothing at this path(.|\n)*did you mean {tmp_path}/corpus/train.jsonl"):
            read(tmp_path / wrong)
    with pytest.raises(UserError) as caught:
        read(tmp_path / "qqqqqqqq" / "a")
    assert "did you mean" not in str(caught.value)
    for odd in ("a\0b", "x" * 5000):
        with pytest.raises(UserError):
            read(tmp_path / odd)


def test_heldout_depends_on_the_id_alone():
    documents = [Document(f"d{i}", "x") for i in range(4000)]
    train, held = split_heldout(documents, 0.05, seed=3)
    out = {d.id for d in held}
    assert 150 < len(held) < 250 and train == [d for d in documents if d.id not in out]
    assert split_heldout(documents[1000:], 0.05, seed=3)[1] == [d for d in documents[1000:] if d.id in out]
    assert split_heldout(documents, 0.05, seed=4)[1] != held
    assert out < {d.id for d in split_heldout(documents, 0.1, seed=3)[1]}
    assert split_heldout(documents, 0.0, seed=3) == (documents, [])
    assert split_heldout(documents, 1.0, seed=3) == ([], documents)


def test_write_quarantine(tmp_path):
    bad = [BadRow("a.jsonl:1", "é\n\ud800"), BadRow("b.py:2", "x")]
    Corpus([], bad).write_quarantine(tmp_path / "q.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_bytes().splitlines()]
    assert [BadRow(**row) for row in rows] == bad


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.py", "a.jsonl", "a.jsonl.gz", "a.parquet"]))
def test_any_bytes_end_in_documents_or_quarantine(tmp_path, data, name):
    (tmp_path / name).write_bytes(data)
    try:
        corpus = read(tmp_path / name, max_bad=1)
    except UserError as error:
        assert "no document" in str(error)
    else:
        assert all(d.text.encode() for d in corpus.documents)


SCALAR = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON = SCALAR | st.lists(SCALAR) | st.dictionaries(st.text(), SCALAR)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from(["text", "context", "id", "x"]), st.text() | JSON), max_size=6))
def test_any_json_rows_end_in_documents_or_quarantine(tmp_path, rows):
    path = jsonl(tmp_path, *rows, GOOD)
    corpus = read(path, max_bad=1)
    assert len(corpus.documents) + len(corpus.quarantine) == len(rows) + 1
    assert len({d.id for d in corpus.documents}) == len(corpus.documents)
