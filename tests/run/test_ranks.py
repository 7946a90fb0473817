"""Ranks: whatever their number, whichever of them dies, a run gives the same bytes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import Started, ra3
from kills import COMMANDS, product
from rank_kills import killed_run, words

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Holds one undisturbed run of each command, on one process."""
    home = tmp_path_factory.mktemp("ranks")
    started = [Started(home, words(command, f"{command}-alone")) for command in COMMANDS]
    for ended in [run.wait() for run in started]:
        assert ended.returncode == 0, ended.stderr
    return home


@pytest.mark.parametrize(("command", "count"), [*((command, 2) for command in COMMANDS), ("midtrain", 4)])
def test_the_number_of_ranks_does_not_change_a_byte(home, command, count):
    ended = ra3(home, *words(command, f"{command}-{count}", "--ranks", count))
    assert ended.returncode == 0, ended.stderr
    assert product(home / "runs" / f"{command}-{count}") == product(home / "runs" / f"{command}-alone")
    assert ended.stdout.count("report: ") == 1  # one rank speaks
    assert (home / "runs" / f"{command}-{count}" / "logs" / f"attempt_1.rank_{count - 1}" / "shown.log").read_text()


def test_ranks_annotate_alike(home):
    words = ["annotate", "--run.threads", 1, "--run.lanes", 4, "--corpus.documents", 6]
    for name, more in (("text-alone", []), ("text-2", ["--ranks", 2])):
        ended = ra3(home, *words, "--out", name, *more)
        assert ended.returncode == 0, ended.stderr
    folders = home / "text-alone", home / "text-2"
    alone, two = ({p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} for folder in folders)
    assert len(alone) > 6 and alone == two


def test_the_number_of_lanes_changes_the_last_digits(home):
    """So what is compared above can differ."""
    ended = ra3(home, *words("midtrain", "single", "--run.lanes", 1))
    assert ended.returncode == 0, ended.stderr
    one, four = (product(home / "runs" / name)["model/model.safetensors"] for name in ("single", "midtrain-alone"))
    assert one != four


def test_a_run_goes_on_with_another_number_of_ranks(home):
    """2, 1, 4 ranks, one process: each is stopped by SIGTERM after some steps, the last comes to the end."""
    metrics = home / "runs" / "changing" / "metrics.jsonl"
    lines = lambda: metrics.read_text().count("\n") if metrics.exists() else 0  # noqa: E731
    for more in (["--ranks", 2], ["--ranks", 1], ["--ranks", 4]):
        before = lines()
        run = Started(home, words("midtrain", "changing", "--resume", *more))
        run.wait_until(lambda before=before: lines() >= before + 2)
        run.signal(signal.SIGTERM)
        assert run.wait().returncode == 143, run.said()
    assert ra3(home, *words("midtrain", "changing", "--resume")).returncode == 0
    assert product(metrics.parent) == product(home / "runs" / "midtrain-alone")


def test_shards_of_the_weights_change_no_byte(home):
    """Two ranks that each hold half are stopped, go on, and are stopped again; two that hold all go on, are stopped,
    and one process ends it. Shares were saved by the ranks, each its own."""
    folder = home / "runs" / "sharded"
    metrics = folder / "metrics.jsonl"
    for more in (["--run.shard", "true"], ["--run.shard", "true"], []):
        before = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        run = Started(home, words("midtrain", "sharded", "--resume", "--ranks", 2, *more))
        run.wait_until(lambda n=before: metrics.exists() and len(metrics.read_text().splitlines()) >= n + 3)
        run.signal(signal.SIGTERM)
        assert run.wait().returncode == 143, run.said()
        shares = {path.name for path in folder.glob("checkpoints/*.shares/*")}
        assert not more or shares == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    assert ra3(home, *words("midtrain", "sharded", "--resume")).returncode == 0
    assert not [*folder.glob("checkpoints/*.step-*.shares")], "of steps only the last two are kept"
    assert product(folder) == product(home / "runs" / "midtrain-alone")


def test_a_sharded_run_gives_the_same_files(home):
    ended = ra3(home, *words("rlvr", "rlvr-sharded", "--ranks", 2, "--run.shard", "true"))
    assert ended.returncode == 0, ended.stderr
    folder = home / "runs" / "rlvr-sharded"
    assert product(folder) == product(home / "runs" / "rlvr-alone")
    share, *_ = sorted(folder.glob("checkpoints/*.shares/__1_0.distcp"))
    share.write_bytes(share.read_bytes()[:-1])
    found = ra3(home, "runs", "verify", folder)
    assert found.returncode == 2 and share.parent.name.removesuffix(".shares") in found.stdout + found.stderr


def test_the_measurement_of_ranks_compares_the_weights_of_all():
    words = ["--ranks", "2", "--lanes", "2", "--documents", "4", "--steps", "1"]
    ended = subprocess.run([sys.executable, "perf/scale.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    alone, whole, shares = ended.stdout.splitlines()[1:]
    assert "the same" not in alone and whole.endswith("  the same") and shares.endswith("  the same"), ended.stdout


@pytest.mark.parametrize("command", ["midtrain", "rlvr"])
def test_a_rank_that_is_killed_costs_nothing_but_time(home, command):
    name = f"{command}-killed"
    assert killed_run(home, command, name, 2, 2, random.Random(command)) > 0
    assert product(home / "runs" / name) == product(home / "runs" / f"{command}-alone")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--ranks", 3], "3 ranks cannot share 4 lanes"),
        (["--ranks", 3], "take 2 or 4 ranks"),
        (["--ranks", 8], "set run.lanes to 8"),
        (["--ranks", 0], "leave --ranks out"),
        (["--run.lanes", 6], "6 is not a power of two"),
        (["--run.shard", "true", "--midtrain.mstep.optimizer", "muon"], "muon works on whole matrices"),
        (["--run.shard", "true", "--model.lora.rank", 4], "not sharded yet"),
        (["--ranks", 2, "--model", "nowhere"], "nowhere"),
    ],
)
def test_what_ranks_cannot_do_is_told_once(home, more, expected):
    ended = ra3(home, *words("midtrain", "wrong", *more))
    assert ended.returncode == 2
    assert ended.stderr.count(expected) == 1
    assert "Traceback" not in ended.stderr
