"""The run folder: its name, its resolved config, its environment, one log per attempt, and the check before a resume.

A run folder is the product of a run; every view only reads it. It is never overwritten and never written by two
processes: a folder that exists is reopened on request if its config is the same, and refused with the reason if not.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from ra3.config.tree import plain
from ra3.errors import UserError
from ra3.run.environment import environment
from ra3.run.files import disk_errors, remove_litter, write_atomic
from ra3.run.forks import COPIED, command_of, copy_run
from ra3.run.lock import LOCK_NAME, FolderLock
from ra3.seeds import derive

FREE_KEYS = ("run.out", "run.name", "run.checkpoint_every_s", "run.checkpoint_every_steps", "run.stuck_after_s")
"""Settings that move or time a run but never change its numbers."""
UNSTARTED = (LOCK_NAME, "logs", "environment.json")  # all that a run killed before its first step leaves


class Run:
    """An open run folder. Use `Run.create`; use it as a context manager or call `close`.

    folder: where everything goes; name: its last part; attempt: 1 for a fresh run, then counting;
    resumed: whether the folder held a run already; resume_line: the command that goes on with this run.
    """

    def __init__(self, folder: Path, command: str, resumed: bool, lock: FolderLock):
        self.folder, self.name, self.command, self.resumed = folder, folder.name, command, resumed
        self.resume_line = resume_line(command, folder)
        self._lock = lock
        (folder / "logs").mkdir(exist_ok=True)
        self.attempt = 1 + max((_attempt_number(path) for path in folder.glob("logs/attempt_*.log")), default=0)
        self._log = (folder / "logs" / f"attempt_{self.attempt}.log").open("a", encoding="utf-8", buffering=1)

    @classmethod
    def create(
        cls, out: str | Path, name: str | None, config: dict, command: str, resume: bool = False,
        fork: Path | None = None,
    ) -> Run:  # fmt: skip
        """Make the folder `out/name`, or reopen it. `config` is the resolved config as nested dicts.

        With `resume` a folder that is not there yet is simply made, so that one command line serves every attempt.
        With `fork` a new folder begins where that run is, whatever settings differ.
        Raises UserError if the folder is busy, holds a run and `resume` is false, holds a run of another config, holds
        something else, or cannot be written.
        """
        config = plain(config)
        folder = Path(out) / (name or auto_name(command, config))
        if name and (name in (".", "..") or Path(name).name != name):
            raise UserError(f"a run's name must be a plain folder name, got {name!r}", where="run.name")
        with disk_errors(folder, "create the run folder"):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock.take(folder)
            try:
                resumed = _check_reuse(folder, config, command, resume, UNSTARTED + (COPIED if fork else ()))
                if fork and not resumed:
                    copy_run(fork, folder, command)
                run = cls(folder, command, resumed, lock)
                run._start(config)
                if fork and not resumed:
                    changes = config_changes(read_object(fork / "config.json"), config)
                    run.note(fork={"of": str(fork), "changes": changes})
            except BaseException:
                lock.release()
                raise
        return run

    def _start(self, config: dict) -> None:
        remove_litter(self.folder)
        earlier = self._read("environment.json") if command_of(self.folder) else {}
        self.write_json("environment.json", environment(self.command, self.resume_line, self.attempt, earlier))
        if not self.resumed:
            self.write_json("config.json", config)
        self.log(f"attempt {self.attempt}, process {os.getpid()}: {shlex.join(sys.argv)}")

    def path(self, *parts: str) -> Path:
        """A path inside the folder; nothing is made."""
        return self.folder.joinpath(*parts)

    def write_json(self, name: str, value: Any) -> Path:
        """Write `name` whole or not at all (temporary file, fsync, rename). NaN and infinities become strings."""
        text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with self.guard(f"write {name}"):
            write_atomic(self.path(name), text.encode("utf-8", "backslashreplace"))
        return self.path(name)

    def note(self, **facts: Any) -> None:
        """Add facts to environment.json, e.g. `run.note(device="cpu", sandbox=sandbox.level)`."""
        self.write_json("environment.json", {**self._read("environment.json"), **facts})

    def pin(self, **inputs: str) -> None:
        """Write down fingerprints of what this run works on; UserError if an earlier attempt had others."""
        before = self._read("inputs.json")
        if changed := [name for name, value in inputs.items() if before.get(name, value) != value]:
            raise UserError(
                f"the {' and the '.join(changed)} changed since this run began, so it cannot go on",
                where=str(self.folder),
                fix="put back what it began with, or choose another name (run.name) to start afresh",
            )
        if {**before, **inputs} != before:
            self.write_json("inputs.json", {**before, **inputs})

    def log(self, text: str) -> None:
        """Add one line with its UTC time to this attempt's log."""
        with self.guard("write the log"):
            self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """Context manager: a disk that is full, read-only or forbidden becomes a UserError that says what was kept."""
        return disk_errors(self.folder, doing, self.resume_line)

    def close(self) -> None:
        """Close the log and let go of the folder; safe to call twice."""
        with suppress(OSError):  # a full disk has been told already, and must not keep the folder locked
            self._log.close()
        self._lock.release()

    def _read(self, name: str) -> dict:
        return read_object(self.path(name)) if self.path(name).exists() else {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def auto_name(command: str, config: dict) -> str:
    """`<command>-<model>-<8 hex>`; the hex stands for all that decides the numbers: an equal run has an equal name."""
    flat = {key: value for key, value in flatten(config).items() if key not in FREE_KEYS}
    model = Path(str(flat.get("model.path", "model"))).name
    digits = derive(int(flat.get("run.seed", 0)), command, json.dumps(flat, sort_keys=True)) & 0xFFFFFFFF
    return f"{command}-{re.sub(r'[^A-Za-z0-9._-]+', '-', model)[:40]}-{digits:08x}"


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Nested dicts -> dotted keys: {"run": {"seed": 0}} -> {"run.seed": 0}."""
    flat = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def config_changes(old: dict, new: dict) -> list[str]:
    """Lines `key: old -> new` of every key that decides the numbers and differs.

    A setting that one of them does not have yet, being of an older version, is there with its default.
    """
    from ra3.config.tree import Config  # here: the sandbox imports this module where pydantic need not be

    a, b = flatten(plain(old)), flatten(plain(new))
    as_ever = flatten(plain(Config().model_dump()))
    before, after = {**as_ever, **a}, {**as_ever, **b}
    keys = [key for key in sorted(a | b) if key not in FREE_KEYS and before.get(key) != after.get(key)]
    return [f"{key}: {_shown(a, key)} -> {_shown(b, key)}" for key in keys]


def resume_line(command: str, folder: Path) -> str:
    """The command that goes on with this run: the present command line, if it is ours, plus --resume."""
    arguments = [part for part in sys.argv[1:] if part != "--resume"]
    program = Path(sys.argv[0])
    if program.stem == "ra3" or program.parts[-2:] == ("ra3", "__main__.py"):
        return f"ra3 {shlex.join(arguments)} --resume"
    return f"ra3 {command} --run.out {shlex.quote(str(folder.parent))} --run.name {shlex.quote(folder.name)} --resume"


def _check_reuse(folder: Path, config: dict, command: str, resume: bool, unstarted: tuple[str, ...]) -> bool:
    """True: go on with the run in `folder`. False: nothing has been started there. Else UserError."""
    content = sorted(path.name for path in folder.iterdir())
    if not (folder / "config.json").exists():
        if foreign := [name for name in content if name not in unstarted and not name.endswith(".tmp")]:
            raise UserError(
                f"the folder exists and is not a run: it holds {', '.join(foreign[:8])}",
                where=str(folder),
                fix="choose another name (run.name) or another place (run.out)",
            )
        return False
    if (began := command_of(folder) or command) != command:
        raise UserError(
            f"the run in this folder is one of `ra3 {began}`, not of `ra3 {command}`",
            where=str(folder),
            fix="choose another name (run.name)",
        )
    changes = config_changes(read_object(folder / "config.json"), config)
    if not resume:
        raise _exists(folder, content, command, changes)
    if changes:
        raise UserError(
            "the run in this folder has another config, so it cannot go on:\n  " + "\n  ".join(changes),
            where=str(folder),
            fix="undo these changes, choose another name (run.name) to start afresh, or take over what is done with\n"
            f"  --fork {shlex.quote(str(folder))} and another name",
        )
    return True


def _exists(folder: Path, content: list[str], command: str, changes: list[str]) -> UserError:
    listing = ", ".join(name for name in content if not name.startswith("."))
    fresh = "choose another name (run.name) to start afresh"
    differs = f"; its config differs: {'; '.join(changes)}" if changes else ""
    return UserError(
        f"this run exists already: {listing}{differs}",
        where=str(folder),
        fix=fresh if changes else f"go on with it: {resume_line(command, folder)}\n  or {fresh}",
    )


def _attempt_number(path: Path) -> int:
    digits = path.stem.removeprefix("attempt_")
    return int(digits) if digits.isdecimal() else 0


def _shown(flat: dict, key: str) -> str:
    return json.dumps(flat[key], ensure_ascii=False) if key in flat else "(not set)"


def read_object(path: Path) -> dict:
    """The JSON object in `path`, or UserError: we write these files whole, so a broken one was changed by hand."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("this file of a run folder is missing", where=str(path), fix="restore it") from error
    except ValueError as error:
        raise UserError(f"this file is no valid JSON: {error}", where=str(path), fix="restore it") from error
    if not isinstance(value, dict):
        raise UserError("this file must hold a JSON object", where=str(path), fix="restore it")
    return value
