"""What a command reads of a corpus: as the settings say, or whole."""

import json

from corpus_files import write

from ra3.commands.inputs import excerpt, read_corpus, train_and_heldout
from ra3.config.load import load
from ra3.data.documents import Document

LICENCE, CODE = "# Copyright X\n\n", "import os\n\n\ndef f():\n    return os\n"
TASK = {
    "task_id": "HumanEval/0", "prompt": "def quite_a_long_name(x):\n", "entry_point": "quite_a_long_name",
    "canonical_solution": "    return x\n", "test": "def check(candidate):\n    assert candidate(1) == 1\n",
}  # fmt: skip


def corpus(folder, whole=False, **settings):
    own = {f"corpus.{name}": value for name, value in settings.items()}
    return read_corpus(load(overrides={"corpus.path": str(folder), **own}), whole)


def test_units_and_filter(tmp_path):
    write(tmp_path, a__py=LICENCE + CODE, b__py=CODE)
    assert [(d.id, d.text) for d in corpus(tmp_path).documents] == [("a.py", CODE)]
    pieces = corpus(tmp_path, unit="function", filter="false").documents
    assert [d.id for d in pieces] == ["a.py:1", "a.py:6", "b.py:1", "b.py:4"]
    assert pieces[3].context + pieces[3].text == "import os\ndef f():\n    return os\n"
    assert [d.text for d in corpus(tmp_path, whole=True, unit="function").documents] == [LICENCE + CODE, CODE]


def test_embedded_worlds_are_not_filtered():
    found = corpus("functions", documents=500)
    assert len(found.documents) == 500 and found.summary().startswith("500 documents, ") and not found.quarantine


def test_what_overlaps_a_benchmark_is_left_out_by_name(tmp_path):
    taken = "def quite_a_long_name(x):\n    return x\n"
    write(tmp_path, corpus_in_a__py=CODE, corpus_in_b__py=taken, exam__jsonl=json.dumps(TASK))
    settings = {"corpus.path": str(tmp_path / "corpus"), "run.benchmarks": f"humaneval:{tmp_path}/exam.jsonl"}
    found = read_corpus(load(overrides=settings))
    assert [d.id for d in found.documents] == ["a.py"] and found.left_out == {"overlap": 1}


def test_a_corpus_of_its_own_to_measure_on(tmp_path):
    for name in ("train", "other"):
        write(tmp_path / name, **{f"{name}{i}__py": f"{name} = {'x + ' * i}{i}\n" for i in range(4)})
    for share, count in ((0, 0), (0.001, 1), (0.99, 4)):
        settings = {"path": tmp_path / "train", "heldout_path": tmp_path / "other", "heldout": share, "documents": 3}
        config = load(overrides={f"corpus.{name}": str(value) for name, value in settings.items()})
        train, heldout = train_and_heldout(config, read_corpus(config).documents)
        assert [d.id for d in train] == ["train0.py", "train1.py", "train2.py"]
        assert len(heldout) == count and all(d.id.startswith("other") for d in heldout)


def test_an_excerpt_shows_context_and_text():
    assert excerpt(Document("a.py:3", "x = a\n" * 12, context="import a\n")).splitlines() == [
        "first document: a.py:3", "  | import a", *["  | x = a"] * 9, "  ... 3 lines more",
    ]  # fmt: skip
