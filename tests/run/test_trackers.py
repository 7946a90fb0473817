"""`ra3 track` with the real packages, offline: what their own readers read back is what metrics.jsonl holds."""

from __future__ import annotations

import math
import struct
import sys
import threading
from pathlib import Path

import pytest

from ra3.cli import main
from ra3.run import trackers
from ra3.run.folder import Run
from ra3.run.metrics import Metrics
from ra3.run.trackers import TRACKERS, track

LINES = [
    ("estep", 0, 0, {"elbo": -9.5, "think_rate": 0.25}),
    ("estep", 0, 1, {"elbo": -8.25, "think_rate": 0.5}),
    ("mstep", 0, 0, {"nll_total": math.nan}),
    ("estep", 1, 0, {"elbo": -7.0, "think_rate": 0.125}),
]
POINTS = {
    "estep/elbo": {0: -9.5, 1: -8.25, 3: -7.0},
    "estep/think_rate": {0: 0.25, 1: 0.5, 3: 0.125},
    "mstep/nll_total": {2: math.nan},
}
"""The step of a point is the number of its line."""
BLOCK = 32768


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A run folder, written as runs write it, with half a line at its end as in a run that is going."""
    monkeypatch.chdir(tmp_path)
    with Run.create("runs", "a", {"run": {"seed": 3}}, "midtrain") as run:
        metrics = Metrics(run)
        for line in LINES:
            metrics.log(*line)
        metrics.close()
    with run.path("metrics.jsonl").open("a") as file:
        file.write('{"stage": "rlvr", "rew')
    return run.folder


def tensorboard_points(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    points = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    assert all(len({e.step for e in own}) == len(own) for own in points.values()), "a step is there twice"
    return {tag: {event.step: event.value for event in own} for tag, own in points.items()}


def wandb_files(folder: Path) -> list[Path]:
    return list(folder.glob("wandb/offline-run-*/*.wandb"))


def wandb_records(file: Path) -> list:
    """All records of a run that was written offline: LevelDB's log format behind a head of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, records, parts = file.read_bytes(), 7, [], b""
    while place + 7 < len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a record as a whole, or its last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


def test_tensorboard_reads_what_was_logged_once(folder, capsys):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    assert main(["track", str(folder), "--to", "tensorboard"]) == 0
    assert "4 lines of runs/a/metrics.jsonl" in capsys.readouterr().out
    assert same(tensorboard_points(folder))
    assert track(folder, "tensorboard") == 4
    assert same(tensorboard_points(folder))


def same(points: dict[str, dict[int, float]]) -> bool:
    return repr(sorted(points.items())) == repr(sorted(POINTS.items()))  # NaN is not itself, but reads the same


def test_a_run_that_is_going_is_followed_to_its_end(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    monkeypatch.setattr(trackers, "LOOK_EVERY_S", 0.01)
    shown = []
    with Run.create(tmp_path, "a", {"run": {"seed": 3}}, "midtrain") as run:
        metrics = Metrics(run)
        metrics.log(*LINES[0])
        follower = threading.Thread(target=lambda: shown.append(track(run.folder, "tensorboard", follow=True)))
        follower.start()
        for line in LINES[1:]:
            metrics.log(*line)
        follower.join(0.2)
        assert follower.is_alive(), "it ended before the run"
        metrics.truncate_to({})  # as a run does that goes back to its beginning
        for line in LINES:
            metrics.log(*line)
        metrics.close()
    follower.join(30)
    assert shown == [4] and same(tensorboard_points(run.folder))


def test_wandb_offline_has_settings_and_points(folder, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert track(folder, "wandb") == 4
    wandb.teardown()  # its service has then written all
    (file,) = wandb_files(folder)
    records = wandb_records(file)
    began = next(record.run for record in records if record.HasField("run"))
    assert (began.project, began.display_name) == ("ra3", "a")
    assert {item.key: item.value_json for item in began.config.update}["run.seed"] == "3"
    points: dict = {}
    for record in records:
        for item in record.history.item:
            if (key := item.key or "/".join(item.nested_key)) in POINTS:
                points.setdefault(key, {})[record.history.step.num] = float(item.value_json.strip('"'))
    assert same(points)
    assert track(folder, "wandb") == 4
    assert {file.parent.name.rpartition("-")[2] for file in wandb_files(folder)} == {began.run_id}, "it is another run"


def test_trackio_has_settings_and_points(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the extra trackio")
    from trackio.sqlite_storage import SQLiteStorage

    assert track(folder, "trackio") == 4
    logged = SQLiteStorage.get_logs("ra3", "a")
    points: dict = {key: {line["step"]: float(line[key]) for line in logged if key in line} for key in POINTS}
    assert same(points)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_told(name, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    assert main(["track", str(folder), "--to", name]) == 2
    assert f"needs the package {name}\n  fix: pip install 'ra3[{name}]'" in capsys.readouterr().err


def test_a_folder_without_a_run_and_an_unknown_tracker_are_told(tmp_path, capsys):
    assert main(["track", str(tmp_path), "--to", "tensorboard"]) == 2
    assert "this is no run folder" in capsys.readouterr().err
    assert main(["track", str(tmp_path), "--to", "mlflow"]) == 2
    assert "trackio" in capsys.readouterr().err
