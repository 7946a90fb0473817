"""The run folder: made once, reopened only for the same config, written by one process at a time."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ra3.config.settings import flatten
from ra3.errors import UserError
from ra3.run import folder
from ra3.run.files import DISK_REASONS, disk_errors, to_json, write_atomic
from ra3.run.folder import LOCK, OWNER, FolderLock, Run, auto_name, config_changes, is_local, owner_of

CONFIG = {"run": {"seed": 3, "out": "runs"}, "model": {"path": "models/Qwen 2.5"}, "midtrain": {"method": "ra3"}}
FORK = """
import os, sys, time
from pathlib import Path
from ra3.run.folder import OWNER, FolderLock
lock = FolderLock(Path(sys.argv[1]))
owner = Path(sys.argv[1], OWNER)
owner.write_text(owner.read_text().split(", since ")[0] + ", since 2030")
if not os.fork():  # the child says that it has begun: only then has it let go of what it inherited
    print(os.getpid(), flush=True)
time.sleep(60)
"""
HOLD = """
import sys, time
from ra3.run.folder import Run
run = Run.create(sys.argv[1], "a", {"x": 1}, "midtrain", resume=len(sys.argv) > 2)
print("ready", flush=True)
time.sleep(60)
"""


def changed(**midtrain: object) -> dict:
    return {**CONFIG, "midtrain": {**CONFIG["midtrain"], **midtrain}}


def start_holder(out: Path) -> subprocess.Popen:
    """Another process that has the run folder `out/a` open."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def test_a_fresh_run_writes_config_environment_and_log(tmp_path):
    with Run.create(tmp_path, "a", CONFIG, "midtrain") as run:
        run.log("hello")
        run.add_facts(sandbox={"seccomp": True})
        assert run.attempt == 1 and not run.resumed and run.path("x", "y") == tmp_path / "a" / "x" / "y"
    environment = json.loads((tmp_path / "a" / "environment.json").read_text())
    assert json.loads((tmp_path / "a" / "config.json").read_text()) == CONFIG
    assert environment["versions"]["torch"] and environment["sandbox"] == {"seccomp": True}
    assert environment["command"] == "midtrain" and environment["argv"] == sys.argv and environment["cores"] >= 1
    assert "hello\n" in (tmp_path / "a" / "logs" / "attempt_1.log").read_text()


def test_git_commit_of_the_working_directory(tmp_path, monkeypatch):
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    with Run.create("runs", "a", CONFIG, "midtrain") as run:
        git = json.loads(run.path("environment.json").read_text())["git"]
    assert len(git["commit"]) == 40 and git["changed"] is False
    monkeypatch.chdir(tmp_path.parent)
    with Run.create(tmp_path, "b", CONFIG, "midtrain") as run:
        assert json.loads(run.path("environment.json").read_text())["git"] is None


def test_an_existing_run_is_never_overwritten(tmp_path):
    Run.create(tmp_path, "a", CONFIG, "midtrain").close()
    before = (tmp_path / "a" / "config.json").read_bytes()
    with pytest.raises(UserError) as refusal:
        Run.create(tmp_path, "a", CONFIG, "midtrain")
    assert "config.json" in str(refusal.value) and "--resume" in str(refusal.value)
    with pytest.raises(UserError) as refusal:
        Run.create(tmp_path, "a", changed(method="ntp"), "midtrain")
    assert 'midtrain.method: "ra3" -> "ntp"' in str(refusal.value) and "--resume" not in str(refusal.value)
    assert (tmp_path / "a" / "config.json").read_bytes() == before


def test_resume_counts_attempts_and_keeps_the_earlier_environment(tmp_path):
    for attempt in (1, 2, 3):
        with Run.create(tmp_path, "a", CONFIG, "midtrain", resume=True) as run:
            assert (run.attempt, run.resumed) == (attempt, attempt > 1)
    environment = json.loads((tmp_path / "a" / "environment.json").read_text())
    assert [former["attempt"] for former in environment["earlier"]] == [1, 2] and environment["attempt"] == 3


def test_resume_with_another_config_lists_every_difference(tmp_path):
    Run.create(tmp_path, "a", CONFIG, "midtrain").close()
    with pytest.raises(UserError) as refusal:
        Run.create(tmp_path, "a", {**changed(method="ntp"), "rlvr": {"steps": 5}}, "midtrain", resume=True)
    assert 'midtrain.method: "ra3" -> "ntp"' in str(refusal.value)
    assert "rlvr.steps: (not set) -> 5" in str(refusal.value)
    moved = {**CONFIG, "run": {**CONFIG["run"], "out": "elsewhere"}}
    Run.create(tmp_path, "a", moved, "midtrain", resume=True).close()


def test_config_changes_compares_what_is_stored():
    assert config_changes({"a": (1, 2), "c": float("inf")}, {"a": [1, 2], "c": "inf"}) == []
    assert config_changes({"a": {"b": None}}, {"a": {}}) == []
    assert config_changes({"a": 0.1}, {"a": 0.2}) == ["a: 0.1 -> 0.2"]


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("precious")
    for resume in (False, True):
        with pytest.raises(UserError, match="not a run: it holds thesis.tex"):
            Run.create(tmp_path, "a", CONFIG, "midtrain", resume=resume)
    assert (tmp_path / "a" / "thesis.tex").read_text() == "precious"


def test_a_run_killed_before_its_first_step_starts_again(tmp_path):
    Run.create(tmp_path, "a", CONFIG, "midtrain").close()
    (tmp_path / "a" / "config.json").unlink()
    (tmp_path / "a" / ".config.json.99.tmp").write_text("{")
    with Run.create(tmp_path, "a", CONFIG, "midtrain") as run:
        assert run.attempt == 2 and not run.resumed


def test_broken_config_is_reported(tmp_path):
    Run.create(tmp_path, "a", CONFIG, "midtrain").close()
    (tmp_path / "a" / "config.json").write_text("{")
    with pytest.raises(UserError, match="no valid JSON"):
        Run.create(tmp_path, "a", CONFIG, "midtrain", resume=True)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "."])
def test_name_must_be_a_plain_folder_name(tmp_path, name):
    with pytest.raises(UserError, match="plain folder name"):
        Run.create(tmp_path, name, CONFIG, "midtrain")


def test_auto_name_names_what_decides_the_numbers():
    name = auto_name("midtrain", CONFIG)
    stem, digits = name.rsplit("-", 1)
    assert stem == "midtrain-Qwen-2.5" and len(digits) == 8 and int(digits, 16) >= 0
    assert auto_name("midtrain", {**CONFIG, "run": {"seed": 3, "out": "elsewhere"}}) == name
    assert auto_name("midtrain", changed(method="ntp")) != name
    assert auto_name("rlvr", CONFIG).rsplit("-", 1)[1] != digits
    assert auto_name("midtrain", {**CONFIG, "run": {"seed": 4}}) != name


def test_two_processes_cannot_write_one_folder(tmp_path):
    with start_holder(tmp_path) as holder:
        try:
            with pytest.raises(UserError, match=f"process {holder.pid} on"):
                Run.create(tmp_path, "a", {"x": 1}, "midtrain", resume=True)
        finally:
            holder.send_signal(signal.SIGKILL)
    with Run.create(tmp_path, "a", {"x": 1}, "midtrain", resume=True) as run:
        assert run.attempt == 2


def test_one_process_cannot_open_a_run_twice(tmp_path):
    with Run.create(tmp_path, "a", CONFIG, "midtrain"), pytest.raises(UserError, match="another run is writing"):
        Run.create(tmp_path, "a", CONFIG, "midtrain", resume=True)
    Run.create(tmp_path, "a", CONFIG, "midtrain", resume=True).close()


def test_a_refused_create_lets_go_of_the_folder(tmp_path):
    Run.create(tmp_path, "a", CONFIG, "midtrain").close()
    with pytest.raises(UserError):
        Run.create(tmp_path, "a", changed(method="ntp"), "midtrain", resume=True)
    Run.create(tmp_path, "a", CONFIG, "midtrain", resume=True).close()


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:31 / /net\\040drive rw - nfs4 server:/x rw
31 22 0:32 / /net\\040drive/scratch rw shared:1 - xfs /dev/sdb rw
32 22 0:33 / /cloud rw - fuse.gcsfuse bucket rw
"""


def test_file_systems_of_one_machine_are_known(tmp_path):
    (tmp_path / "mounts").write_text(MOUNTS)
    there = {"/runs": True, "/net drive/runs": False, "/net drive/scratch/a": True, "/cloud/a": False, "/clouds": True}
    assert {name: is_local(Path(name), tmp_path / "mounts") for name in there} == there
    assert not is_local(tmp_path, tmp_path / "no list of mounts")


LEFT = ("process 1 on elsewhere, since 2030", "", "process 0 on ?", "\0\N{SNOWMAN}" * 999)


@pytest.mark.parametrize("left", LEFT, ids=["another host", "nothing", "no time", "no text"])
def test_a_run_goes_on_in_a_container_of_another_name(tmp_path, left):
    """The kernel let go of the lock when the process was killed; the host's name tells nothing on a local disk."""
    if not is_local(tmp_path):
        pytest.skip("the test's folder is on no local file system")
    (tmp_path / OWNER).write_text(left)
    FolderLock(tmp_path).close()


def test_a_lock_from_another_host_is_not_taken_on_a_network_drive(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LOCAL", ())
    (tmp_path / OWNER).write_text("process 1 on elsewhere, since 2030")
    with pytest.raises(UserError, match=r"another machine: process 1 on elsewhere(.|\n)*delete"):
        FolderLock(tmp_path)
    (tmp_path / OWNER).unlink()
    (tmp_path / LOCK).write_text("left by a process that is gone")
    FolderLock(tmp_path).close()
    assert owner_of(tmp_path) is None


def test_a_forked_child_does_not_hold_the_lock_on(tmp_path):
    """A child that lives on, as a sandbox's server may for a moment, does not keep a killed run's folder locked."""
    with subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        try:
            assert owner_of(tmp_path) == f"process {parent.pid} on {socket.gethostname()}, since 2030"
            parent.kill()
            parent.wait()
            os.kill(child, 0)
            FolderLock(tmp_path).close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_write_json_is_whole_or_not_at_all(tmp_path):
    with Run.create(tmp_path, "a", CONFIG, "midtrain") as run:
        value = {
            "x": float("nan"),
            "y": np.float32(0.5),
            "z": (1, np.int64(2)),
            "p": Path("q"),
            "s": {2, 1},
            3: "\ud800",
        }
        run.write_json("results.json", value)
        stored = json.loads(run.path("results.json").read_text())
        assert stored == {"x": "nan", "y": 0.5, "z": [1, 2], "p": "q", "s": [1, 2], "3": "\ud800"}
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_atomic(path, "text, not bytes")  # type: ignore[arg-type]
    assert path.read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == ["a", "b.txt"]


def test_plain_and_flatten():
    assert to_json([1, True, None, "x", float("-inf")]) == [1, True, None, "x", "-inf"]
    assert dict(flatten({"a": {"b": 1, "c": {"d": 2}}, "e": [3]})) == {"a.b": 1, "a.c.d": 2, "e": [3]}


@pytest.mark.parametrize("code", sorted(DISK_REASONS))
def test_disk_trouble_says_what_was_kept_and_how_to_go_on(tmp_path, code):
    with Run.create(tmp_path, "a", CONFIG, "midtrain") as run:
        run.path("metrics.jsonl").write_text("{}\n")
        with pytest.raises(UserError) as told, run.guard("save a checkpoint"):
            raise OSError(code, os.strerror(code), "some/file")
    assert "cannot save a checkpoint" in str(told.value) and "kept: metrics.jsonl" in str(told.value)
    assert "--resume" in str(told.value) and "some/file" in str(told.value)


def test_disk_errors_pass_what_is_no_disk_trouble(tmp_path):
    for error in (OSError(errno.ECONNRESET, "x"), ValueError("x"), UserError("x")):
        with pytest.raises(type(error)) as passed, disk_errors(tmp_path, "x"):
            raise error
        assert passed.value is error
    with pytest.raises(UserError, match="disk is full"), disk_errors(tmp_path, "x"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(UserError, match="a file of that name is in the way"):
        Run.create(tmp_path, "a", CONFIG, "midtrain")
    with pytest.raises(UserError, match="a part of the path is a file"):
        Run.create(tmp_path / "a", "b", CONFIG, "midtrain")
