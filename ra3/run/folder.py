"""The run folder: its lock, its resolved config, what it ran on, a log for each attempt, and the check before a resume.

A run folder is the product of a run; every view only reads it. It is never overwritten and never written by two
processes: a folder that exists is reopened on request if its config is the same, and refused with the reason if not.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ra3 import __version__
from ra3.config.settings import Config, flatten
from ra3.errors import UserError
from ra3.run.files import disk_errors, fingerprint_code, read_object, remove_temporary_files, to_json, write_atomic
from ra3.seeds import derive

FORMAT = 2
"""Of run folders: raised when an older one can no longer be read. It stands in environment.json."""
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs")
"""File systems of one machine."""
LOCK_FILES = LOCK, OWNER = ".lock", ".owner"
RESUMED_FROM = ("checkpoints", "metrics.jsonl", "rollouts.jsonl", "ledger.jsonl")
"""What a run goes on from, and a fork begins with."""
FREE_KEYS = ("run.out", "run.name", "run.shard", "run.checkpoint_every_s", "run.stuck_after_s")
"""Settings that move or time a run but never change its numbers."""
PLACES = (
    *("model.path", "corpus.path", "corpus.heldout_path", "rlvr.problems", "eval.problems", "eval.samples_file"),
)
"""Settings that name what a run works on; what is there is known by its fingerprint, too."""
UNSTARTED = (*LOCK_FILES, "logs", "environment.json")
"""All that a run killed before its first step leaves."""
MACHINE = ("versions", "code", "device", "threads")
"""Facts on which the last digits of a run's numbers may depend."""
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "datasets", "numpy", "pydantic")
ANOTHER_NAME = "choose another name (run.name)"


class FolderLock:
    """Holds a folder for this process until `close`, or until the process is gone. UserError if another holds it.

    The kernel's lock on `.lock` decides; `.owner` says who holds it. On a network drive, where a lock may hold on one
    machine only, a process on another machine that did not let go counts, too.
    """

    def __init__(self, folder: Path):
        self._owner, self._lock = folder / OWNER, FileLock(folder / LOCK, blocking=False, thread_local=False)
        host = socket.gethostname()
        try:
            self._lock.acquire()
            if self._owner.exists() and f" on {host}," not in _owner(folder) and not is_local(folder):
                what = f"this folder is locked from another machine: {_owner(folder)}"
                raise UserError(what, str(folder), fix=f"if that process is gone, delete {self._owner}, start again")
            write_atomic(self._owner, f"process {os.getpid()} on {host}, since {_now()}".encode())
        except Timeout:
            what = f"another run is writing this folder: {_owner(folder)}"
            raise UserError(what, str(folder), fix=f"wait for it or stop it, or {ANOTHER_NAME} for this run") from None
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Lets go of the folder; safe to call twice. `.lock` stays, so that no one locks an unlinked file."""
        if self._lock.is_locked:
            with suppress(OSError):  # a full disk, or a folder that is gone, must not keep the lock
                self._owner.unlink(missing_ok=True)
            self._lock.release()


def is_local(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a folder lies on a file system of this machine, whose locks hold for all; False where nothing says so."""
    found = ("", "")
    with suppress(OSError):
        for line in mounts.read_text(errors="replace").splitlines():
            place, kind = Path(line.split()[4].replace("\\040", " ")), line.partition(" - ")[2].split()[0]
            if folder.resolve().is_relative_to(place):  # of two mounts at one place the later one is seen
                found = max(found, (str(place), kind), key=lambda item: len(item[0]))
    return found[1] in LOCAL


def owner_of(folder: Path) -> str | None:
    """Names the process that has a folder locked; None if none has. Nothing is changed."""
    with suppress(OSError), (folder / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _owner(folder)
    return None


def _owner(folder: Path) -> str:
    with suppress(OSError):
        return (folder / OWNER).read_text(errors="replace")
    return "a process that is just starting or ending"


class Run:
    """An open run folder. Use `Run.create`; use it as a context manager or call `close`.

    folder: where everything goes; name: its last part; attempt: 1 for a fresh run, then counting;
    resumed: whether the folder held a run already; resume_line: the command that goes on with this run; notes: what is
    otherwise than in the attempt before, for the user to know.
    """

    def __init__(self, folder: Path, command: str, config: dict, resumed: bool, lock: FolderLock):
        self.folder, self.name, self.resumed, self._lock = folder, folder.name, resumed, lock
        self.resume_line = resume_line(command, folder)
        self.guard = partial(disk_errors, folder, resume=self.resume_line)
        """``with run.guard("save the model"):`` turns an error of the disk into a UserError that says what was kept."""
        remove_temporary_files(folder)
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        numbers = [path.stem.removeprefix("attempt_") for path in logs.glob("attempt_*.log")]
        self.attempt = 1 + max((int(digits) for digits in numbers if digits.isdecimal()), default=0)
        self._log = (logs / f"attempt_{self.attempt}.log").open("a", encoding="utf-8", buffering=1)
        before, self.notes = environment_of(folder), list[str]()
        earlier = [*before.pop("earlier", []), *([before] if before else [])]
        self._before = before if resumed else {}
        self._facts: dict[str, Any] = {"command": command, "resume": self.resume_line, "attempt": self.attempt}
        self.add_facts(**_environment(), earlier=earlier)
        if not resumed:
            self.write_json("config.json", config)
        self.log(f"attempt {self.attempt}, process {os.getpid()}: {shlex.join(sys.argv)}")

    @classmethod
    def create(
        cls, out: str | Path, name: str | None, config: dict, command: str, resume: bool = False,
        fork: Path | None = None,
    ) -> Run:  # fmt: skip
        """Makes the folder `out/name`, or reopens it. `config` is the resolved config as nested dicts.

        With `resume` a folder that is not there yet is simply made, so that one command line serves every attempt.
        With `fork` a new folder begins where that run is, whatever settings differ.
        UserError if the folder is busy, cannot be written, or holds something else or a run that cannot go on.
        """
        config = to_json(config)
        folder = run_folder(out, name, config, command)
        if name and (name in (".", "..") or Path(name).name != name):
            raise UserError(f"a run's name must be a plain folder name, got {name!r}", where="run.name")
        with disk_errors(folder, "create the run folder"), ExitStack() as on_failure:
            folder.mkdir(parents=True, exist_ok=True)
            lock = on_failure.enter_context(closing(FolderLock(folder)))
            resumed = _check_reuse(folder, config, command, resume, forked=fork is not None)
            if fork and not resumed:
                copy_run(fork, folder, command)
            run = cls(folder, command, config, resumed, lock)
            if fork and not resumed:
                changes = config_changes(read_object(fork / "config.json"), config)
                run.add_facts(fork={"of": str(fork), "changes": changes})
            on_failure.pop_all()
        return run

    def path(self, *parts: str) -> Path:
        """A path inside the folder; nothing is made."""
        return self.folder.joinpath(*parts)

    def write_json(self, name: str, value: Any) -> None:
        """Writes `name` whole or not at all. NaN and infinities become strings."""
        text = json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with self.guard(f"write {name}"):
            write_atomic(self.path(name), text.encode("utf-8", "backslashreplace"))

    def add_facts(self, **facts: Any) -> None:
        """Adds facts to environment.json, e.g. ``run.add_facts(device="cpu", sandbox=sandbox.level)``."""
        self._facts |= facts
        self.write_json("environment.json", self._facts)

    def note_changes(self) -> None:
        """Adds to `notes` what this attempt runs on and the one before did not: versions, code, device, threads."""
        old, new = (dict(flatten({key: facts.get(key) for key in MACHINE})) for facts in (self._before, self._facts))
        keys = [key for key in old if old[key] and old[key] != new.get(key)]
        if changes := ", ".join(f"{key.removeprefix('versions.')} {old[key]} -> {new.get(key)}" for key in keys):
            self.notes.append(f"this attempt runs on something else than the last: {changes}; last digits may differ")

    def pin_inputs(self, **inputs: str) -> None:
        """Writes down fingerprints of what this run works on; UserError if an earlier attempt had others."""
        file = self.path("inputs.json")
        if not file.exists() and self.resumed and self.path("checkpoints", "manifest.json").exists():
            self.notes.append("inputs.json is gone: whether model and data are those the run began with is not known")
        before = read_object(file) if file.exists() else {}
        if changed := [name for name, value in inputs.items() if before.get(name, value) != value]:
            what = f"the {' and the '.join(changed)} changed since this run began, so it cannot go on"
            fix = f"put back what it began with, or {ANOTHER_NAME} to start afresh"
            raise UserError(what, str(self.folder), fix=fix)
        self.write_json(file.name, before | inputs)

    def log(self, text: str) -> None:
        """Adds one line with its UTC time to this attempt's log."""
        with self.guard("write the log"):
            self._log.write(f"{_now()} {text}\n")

    def close(self) -> None:
        """Closes the log and lets go of the folder; safe to call twice."""
        with suppress(OSError):  # a full disk has been told already, and must not keep the folder locked
            self._log.close()
        self._lock.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def run_folder(out: str | Path, name: str | None, config: dict, command: str) -> Path:
    """Where the run of this config lies."""
    return Path(out) / (name or auto_name(command, to_json(config)))


def auto_name(command: str, config: dict) -> str:
    """`<command>-<model>-<8 hex>`; the hex stands for all that decides the numbers: an equal run has an equal name."""
    flat = {key: value for key, value in flatten(config) if key not in FREE_KEYS}
    model = Path(str(flat.get("model.path", "model"))).name
    digits = derive(int(flat.get("run.seed", 0)), command, json.dumps(flat, sort_keys=True)) & 0xFFFFFFFF
    return f"{command}-{re.sub(r'[^A-Za-z0-9._-]+', '-', model)[:40]}-{digits:08x}"


def config_changes(old: dict, new: dict) -> list[str]:
    """Lines `key: old -> new` of every key that decides the numbers and differs. A setting that one of them does not
    have yet, being of an older version, is there with its default; two spellings of one path are the same."""
    a, b = ({key: value for key, value in flatten(to_json(tree)) if value != {}} for tree in (old, new))
    defaults = to_json(Config().flat())
    one, other = defaults | a, defaults | b
    differ = [key for key in sorted(a | b) if key not in FREE_KEYS and one.get(key) != other.get(key)]
    keys = [key for key in differ if key not in PLACES or not _is_one_place(one.get(key), other.get(key))]
    shown = [[json.dumps(own[k], ensure_ascii=False) if k in own else "(not set)" for own in (a, b)] for k in keys]
    return [f"{key}: {before} -> {after}" for key, (before, after) in zip(keys, shown, strict=True)]


def _is_one_place(a: Any, b: Any) -> bool:
    return all(isinstance(path, str) for path in (a, b)) and Path(a).resolve() == Path(b).resolve()


def resume_line(command: str, folder: Path) -> str:
    """The command that goes on with this run: the present command line, if it is ours, plus --resume."""
    program = Path(sys.argv[0])
    if program.stem == "ra3" or program.parts[-2:] == ("ra3", "__main__.py"):
        return f"ra3 {shlex.join(part for part in sys.argv[1:] if part != '--resume')} --resume"
    return f"ra3 {command} --run.out {shlex.quote(str(folder.parent))} --run.name {shlex.quote(folder.name)} --resume"


def refuse_missing(folder: Path) -> None:
    """UserError if there is no such folder, with those runs that are beside it."""
    if not folder.is_dir():
        runs = ", ".join(str(file.parent) for file in sorted(folder.parent.glob("*/config.json"))[:8])
        fix = f"run folders there: {runs}" if runs else "give the folder that a run printed when it started"
        raise UserError("there is no such run folder", where=str(folder), fix=fix)


def refuse_other_format(folder: Path) -> None:
    """UserError if a run folder was written in another format than this version's. Damaged notes tell of none."""
    environment = environment_of(folder)
    if environment and environment.get("format") != FORMAT:
        what = f"this run folder has format {environment.get('format', 1)}, this version reads format {FORMAT}"
        fix = "use the version of ra3 that made it, which environment.json names, or start afresh under another name"
        raise UserError(what, str(folder), fix=fix)


def environment_of(folder: Path) -> dict[str, Any]:
    """environment.json; {} where it is missing, damaged or names no command."""
    with suppress(UserError, OSError):
        environment = read_object(folder / "environment.json")
        return environment if "command" in environment else {}
    return {}


def copy_run(source: Path, target: Path, command: str) -> None:
    """Copies what a run resumes from out of `source` into the folder `target`. UserError if there is no run of the same
    command in `source`, if a process is writing it, or if it cannot be copied."""
    made_by = environment_of(source).get("command")
    if made_by is None:
        raise UserError("there is no run to fork in this folder", where=str(source), fix="name a run folder")
    refuse_other_format(source)
    if made_by != command:
        what = f"a run of `ra3 {made_by}` cannot be forked by `ra3 {command}`: their stages differ"
        fix = f"use `ra3 {made_by} --fork`, or start from its model with --model {source / 'model'}"
        raise UserError(what, str(source), fix=fix)
    if source.resolve() == target.resolve():
        raise UserError("a run cannot be forked into its own folder", where=str(source), fix="choose another run.name")
    with disk_errors(target, f"copy the run {source}"), closing(FolderLock(source)):
        for path in (source / name for name in RESUMED_FROM):
            if path.is_dir():
                shutil.copytree(path, target / path.name, dirs_exist_ok=True)
            elif path.exists():
                shutil.copy2(path, target)


def _check_reuse(folder: Path, config: dict, command: str, resume: bool, forked: bool) -> bool:
    """True: go on with the run in `folder`. False: nothing has been started there. Else UserError."""
    content = sorted(path.name for path in folder.iterdir())
    if "config.json" not in content:
        known = UNSTARTED + (RESUMED_FROM if forked else ())
        if foreign := [name for name in content if name not in known and not name.endswith(".tmp")]:
            what = f"the folder exists and is not a run: it holds {', '.join(foreign[:8])}"
            raise UserError(what, str(folder), fix=f"{ANOTHER_NAME} or another place (run.out)")
        return False
    refuse_other_format(folder)
    if (began := environment_of(folder).get("command", command)) != command:
        what = f"the run in this folder is one of `ra3 {began}`, not of `ra3 {command}`"
        raise UserError(what, str(folder), fix=ANOTHER_NAME)
    changes, fresh = config_changes(read_object(folder / "config.json"), config), f"{ANOTHER_NAME} to start afresh"
    if not resume:
        listing = ", ".join(name for name in content if not name.startswith("."))
        differs = f"; its config differs: {'; '.join(changes)}" if changes else ""
        again = "" if changes else f"go on with it: {resume_line(command, folder)}\n  or "
        raise UserError(f"this run exists already: {listing}{differs}", str(folder), fix=again + fresh)
    if changes:
        what = "the run in this folder has another config, so it cannot go on:\n  " + "\n  ".join(changes)
        fork = f"take over what is done with\n  --fork {shlex.quote(str(folder))} and another name"
        raise UserError(what, str(folder), fix=f"undo these changes, {fresh}, or {fork}")
    return True


def _environment() -> dict[str, Any]:
    """Describes what this process runs on: versions, code, platform, cores, command line, commit."""
    affinity = getattr(os, "sched_getaffinity", None)
    python = {"python": platform.python_version(), "ra3": __version__}
    return {
        "format": FORMAT,
        "started": _now(),
        "argv": sys.argv,
        "versions": python | {name: version(name) for name in PACKAGES},
        "code": fingerprint_code(Path(__file__).parent.parent),
        "platform": platform.platform(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "git": _git(),
    }


def _git() -> dict | None:
    """Commit of the working directory and whether it has changes on top; None outside a repository or without git."""
    try:
        commit, status = (
            subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
        return {"commit": commit, "changed": bool(status)}
    except (OSError, subprocess.SubprocessError):
        return None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
