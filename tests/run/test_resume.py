"""Stopping and going on, through the command line: signals, changed settings, forks, damaged checkpoints."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from cli_runs import Started, ra3
from conftest import make_policy
from kills import kill_test
from small_runs import copy, midtrain, refused, rlvr, went_on


def test_killed_runs_come_out_as_if_nothing_had_happened(tmp_path):
    """The short form of `python tests/kills.py --kills 60`."""
    said = kill_test(tmp_path, kills=8, seed=1)
    assert said.startswith("8 kills (")


def test_sigterm_saves_and_exits_with_143(home, whole):
    run = Started(home, midtrain("terminated"))
    metrics = home / "runs" / "terminated" / "metrics.jsonl"
    run.wait_until(lambda: metrics.exists() and metrics.stat().st_size)
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.returncode == 143 and "Traceback" not in ended.stderr
    assert ended.stderr.startswith("ra3: stopped; go on with\n  ra3 midtrain ") and ended.stderr.endswith(" --resume\n")
    went_on(home, midtrain("terminated"), whole)


def test_a_changed_setting_is_refused_by_name_unless_forked(home, whole):
    changed = ["--midtrain.mstep.learning-rate", "0.01", "--midtrain.mstep.epochs", "2"]
    told = ra3(home, *midtrain("whole", *changed, "--resume"))
    refused(told, "another config", "midtrain.mstep.learning_rate: 0.001 -> 0.01", "midtrain.mstep.epochs: 1 -> 2")
    assert "--fork runs/whole and another name" in told.stderr
    metrics = (whole / "metrics.jsonl").read_bytes()
    shutil.copytree(whole, home / "half")
    listed = json.loads((home / "half/checkpoints/manifest.json").read_text())
    (home / "half/checkpoints/manifest.json").write_text(json.dumps([e for e in listed if e["stage"] == "estep-0"]))
    forked = ra3(home, *midtrain("forked", *changed, "--fork", "half"))
    assert forked.returncode == 0, forked.stderr
    lines = (home / "runs/forked/metrics.jsonl").read_bytes()
    estep = [line for line in metrics.splitlines() if b'"estep"' in line]
    assert lines.splitlines()[: len(estep)] == estep and lines != metrics
    assert (whole / "metrics.jsonl").read_bytes() == metrics
    note = json.loads((home / "runs/forked/environment.json").read_text())["fork"]
    assert note["of"] == "half" and len(note["changes"]) == 2


def test_a_fork_refuses_what_does_not_fit(home, whole):
    refused(ra3(home, *midtrain("x1", "--fork", "nowhere")), "no run to fork")
    refused(ra3(home, *rlvr("x2", "--fork", "runs/whole")), "a run of `ra3 midtrain` cannot be forked by `ra3 rlvr`")
    make_policy(home / "wide", tie_word_embeddings=False, intermediate_size=96).save(home / "wide")
    told = ra3(home, *midtrain("x3", "--model", "wide", "--fork", "runs/whole"))
    refused(told, "what was saved of estep-0 does not fit these settings")


@pytest.mark.parametrize("damage", ["newest", "early shard", "manifest"])
def test_the_newest_good_checkpoint_is_used(home, whole, damage):
    folder = copy(whole, f"damaged-{damage.replace(' ', '-')}")
    listed = json.loads((folder / "checkpoints/manifest.json").read_text())
    name = {"newest": listed[-1]["file"], "early shard": "annotate-0.00000.pt", "manifest": "manifest.json"}[damage]
    data = bytearray((folder / "checkpoints" / name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (folder / "checkpoints" / name).write_bytes(data[: len(data) - 7 * (damage == "manifest")])
    ended = went_on(home, midtrain(folder.name), whole)
    assert f"warning  checkpoints/{name} is missing or damaged; the run goes on from " in ended.stdout
    assert (folder / "annotated.jsonl").read_bytes() == (whole / "annotated.jsonl").read_bytes()


def test_a_changed_corpus_or_model_is_refused(home):
    (home / "code").mkdir()
    (home / "code/a.py").write_text("x = 1\ny = 2\n")
    words = midtrain("pinned", "--corpus", "code")
    assert ra3(home, *words).returncode == 0
    (home / "code/a.py").write_text("x = 1\ny = 3\n")
    refused(ra3(home, *words, "--resume"), "the corpus changed since this run began, so it cannot go on")
