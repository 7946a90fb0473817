"""`ra3 demo`: its parts are the commands that one would type, its results those of all parts under their names."""

from __future__ import annotations

import json

import pytest
from cli_runs import ra3

from ra3.compare.demo import PAIRS, comparison
from ra3.config.load import load
from ra3.run.results import Results

SMALL = {
    "model": "tiny", "run.threads": 1, "corpus.documents": 24, "midtrain.em-rounds": 1, "midtrain.estep.updates": 1,
    "midtrain.estep.documents": 2, "midtrain.estep.group-size": 2, "midtrain.mstep.tokens": 400, "rlvr.steps": 1,
    "rlvr.batch-problems": 2, "rlvr.samples": 2, "rlvr.max-new-tokens": 4, "eval.per-band": 1, "eval.samples": 2,
    "eval.k": 1, "eval.max-new-tokens": 4,
}  # fmt: skip
WORDS = ["demo", *(str(word) for key, value in SMALL.items() for word in (f"--{key}", value))]
PARTS = {
    "base-eval": "eval", "ntp": "midtrain", "ntp-eval": "eval", "ntp-rlvr": "rlvr", "ntp-rlvr-eval": "eval",
    "ra3": "midtrain", "ra3-eval": "eval", "ra3-rlvr": "rlvr", "ra3-rlvr-eval": "eval",
}  # fmt: skip


def test_its_commands_are_those_of_a_comparison(tmp_path):
    base, ntp, ra3_cell = comparison(load(["demo"], {"run.seed": "3"})).cells(tmp_path)
    assert [command.folder.name for cell in (base, ntp, ra3_cell) for command in cell.commands] == list(PARTS)
    own = ntp.commands[0].config()
    assert (own.midtrain.method, own.run.seed, own.corpus.documents, own.run.name) == ("ntp", 3, 1000, "ntp")
    assert ra3_cell.commands[-1].config().model.path == str(tmp_path / "ra3-rlvr" / "model")


@pytest.fixture(scope="module")
def ended(home):
    return ra3(home, *WORDS)


def test_every_part_is_a_run_and_the_results_are_of_all(home, ended):
    folder = home / "runs" / "demo"
    assert ended.returncode == 0, ended.stderr
    facts = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/environment.json")}
    assert {name: own["command"] for name, own in facts.items()} == PARTS
    results, refused = Results.from_json(json.loads((folder / "results.json").read_text()))
    passes = {score.model for score in results.scores if score.metric == "pass@1"}
    assert refused == 0 and passes == {"base", "ntp", "ra3", "ntp+rlvr", "ra3+rlvr"}
    assert {score.model for score in results.scores if score.band == "heldout"} == {"base", "ntp", "ra3"}
    assert {(row.a, row.b) for row in results.differences} == set(PAIRS)
    assert "pass@1" in ended.stdout and str(folder.relative_to(home) / "report.html") in ended.stdout
    assert ended.stdout.count("report: ") == 1 and (folder / "report.html").is_file()


def test_it_goes_on_with_what_is_missing(home, ended):
    folder = home / "runs" / "demo"
    assert "this run exists already" in ra3(home, *WORDS).stderr
    (folder / "ra3-rlvr-eval").rename(home / "lost")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/files.json")}
    again = ra3(home, *WORDS, "--resume")
    assert again.returncode == 0 and before == {path: path.stat().st_mtime_ns for path in before}
    assert (folder / "ra3-rlvr-eval" / "results.json").read_bytes() == (home / "lost" / "results.json").read_bytes()
