"""Corpora: bytes are kept, bad rows are quarantined with their place, and wrong settings get one clear message."""

import json
import os

import pytest
from corpus_files import GOOD, jsonl, only_reason, reasons, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ra3.data import corpus as corpora
from ra3.data import tables
from ra3.data.corpus import read
from ra3.data.documents import BadRow, Corpus, Document, split_heldout
from ra3.data.steps import split
from ra3.errors import UserError


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
    monkeypatch.setattr(corpora, "MAX_BYTES", 2**20)
    write(tmp_path, a__py="a\n", b__py="b" * (2**20 + 1))
    assert reasons(read(tmp_path, max_bad=1)) == {"b.py:1": "is larger than 1 MiB"}
    assert only_reason(jsonl(tmp_path, GOOD, {"text": "é" * 2**19 + "x"})) == "'text' is larger than 1 MiB"


def test_an_enormous_line_is_passed_over_without_being_held(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_LINE", 1000)
    path = jsonl(tmp_path, GOOD, {"text": "b" * 5000}, {**GOOD, "id": "after"}, {"text": "c" * 987})
    corpus = read(path, max_bad=1)
    assert [d.id for d in corpus.documents] == ["rows.jsonl:1", "after", "rows.jsonl:4"]
    assert reasons(corpus) == {"rows.jsonl:2": "the line is larger than 0 MiB"}


def test_names_that_are_no_text(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    with open(os.fsencode(tmp_path) + b"/\xff/a.py", "wb") as file:
        file.write(b"a\n")
    (document,) = read(tmp_path).documents
    assert document.id == "\\udcff/a.py"


def test_too_many_bad_rows_stop_with_the_first_three(tmp_path):
    path = jsonl(tmp_path, *[GOOD] * 6, *[{"text": i} for i in range(4)])
    assert len(read(path, max_bad=0.4).documents) == 6
    with pytest.raises(UserError) as caught:
        read(path, max_bad=0.39)
    message = str(caught.value)
    assert "4 of 10 documents cannot be used (40.0%)" in message and "at most 39.0% (corpus.max_bad)" in message
    assert message.count("is a number, not a string") == 3 and f"{path}:7:" in message


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


def test_some_documents_are_held_out_and_not_too_many():
    documents = [Document(f"d{i}", "x") for i in range(4000)]
    few, many = split_heldout(documents[:3], 0.05, 3, 1, 32)[1], split_heldout(documents, 0.05, 3, 1, 32)[1]
    assert len(few) == 1 and len(many) == 32
    assert {d.id for d in many} < {d.id for d in split_heldout(documents, 0.05, 3)[1]}
    assert split_heldout(documents[:3], 0.0, 3, 1, 32)[1] == [] == split_heldout(documents[:1], 0.05, 3, 1, 32)[1]


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
