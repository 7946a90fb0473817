"""Runs and the versions of the code: what an older run's settings mean now, which folders a version no longer reads."""

from __future__ import annotations

import json

import pytest
from cli_runs import ra3
from small_runs import copy, midtrain, refused

from ra3.run.folder import config_changes

COMPARISON = """\
seeds = [1]
against = "ntp"
[settings]
model.path = "tiny"
eval.k = [1]
[variants.ntp]
midtrain.method = "ntp"
"""


def test_a_setting_that_an_older_version_did_not_have_is_its_default():
    older, newer = {"run": {"seed": 1}}, {"run": {"seed": 1, "threads": 0}, "model": {"opener": None}}
    assert config_changes(older, newer) == config_changes(newer, older) == []
    assert config_changes(older, {**newer, "model": {"opener": "<plan>"}}) == ['model.opener: (not set) -> "<plan>"']
    assert config_changes({**older, "gone": 3}, newer) == ["gone: 3 -> (not set)"]


def to_format_1(run):
    """Turns a run folder into one of the version before: no format number, a file of times, settings that are gone."""
    environment = json.loads((run / "environment.json").read_text())
    assert environment.pop("format") == 2
    (run / "environment.json").write_text(json.dumps(environment))
    config = json.loads((run / "config.json").read_text())
    config["midtrain"]["estep"]["penalty_growth"] = 8
    (run / "config.json").write_text(json.dumps(config))
    (run / "timing.jsonl").write_text('{"stage": "estep", "round": 0, "step": 0, "attempt": 1, "elapsed_s": 1.5}\n')
    (run / "ledger.jsonl").unlink()


@pytest.mark.parametrize(
    "words",
    [
        midtrain("old", "--resume"),
        midtrain("old"),
        midtrain("fork-of-old", "--fork", "runs/old"),
        ["report", "runs/old"],
        ["runs", "show", "runs/old"],
        ["runs", "compare", "runs/whole", "runs/old"],
        ["compare", "old.toml", "--out", "old-cells"],
    ],
    ids=["resume", "again", "fork", "report", "show", "runs compare", "compare"],
)
def test_a_folder_of_the_version_before_is_refused_in_one_sentence(home, whole, words):
    if not (home / "runs/old").exists():
        to_format_1(copy(whole, "old"))
        (home / "old.toml").write_text(COMPARISON)
        (home / "old-cells").mkdir()
        (home / "old-cells" / "ntp-1").symlink_to(home / "runs/old")
    before = {path: path.read_bytes() for path in (home / "runs/old").rglob("*.json*")}
    refused(ra3(home, *words), "this run folder has format 1, this version reads format 2", "use the version")
    assert before == {path: path.read_bytes() for path in (home / "runs/old").rglob("*.json*")}


def test_verify_says_that_a_folder_is_of_the_version_before_and_list_shows_it(home, whole):
    to_format_1(copy(whole, "older"))
    refused(ra3(home, "runs", "verify", "runs/older"), "this run folder has format 1")
    assert any(line.startswith("older ") for line in ra3(home, "runs", "list").stdout.splitlines())
