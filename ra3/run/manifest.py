"""The lists of files that a run folder vouches for: its checkpoints, and what it holds when it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ra3.errors import UserError
from ra3.run.files import write_atomic

MANIFEST, OLD_MANIFEST = "manifest.json", "manifest.old.json"
SEAL = "files.json"
PRODUCT = (
    *("config.json", "inputs.json", "metrics.jsonl", "rollouts.jsonl", "annotated.jsonl", "results.json"),
    "model/*",
)


@dataclass(frozen=True)
class Entry:
    """One saved file."""

    stage: str
    step: int | None
    """Steps done; None for the output of a finished stage."""
    file: str
    sha256: str
    position: dict[str, int]
    """Bytes of the metrics files at this moment."""


def read_manifest(folder: Path) -> tuple[list[Entry], list[str]]:
    """(entries of the newest readable manifest, names of manifests that cannot be read); a fresh folder: no entries.

    UserError if there are checkpoints and no readable manifest."""
    broken = []
    for name in (MANIFEST, OLD_MANIFEST):
        if (folder / name).exists():
            try:
                return [Entry(**e) for e in json.loads((folder / name).read_text(encoding="utf-8"))], broken
            except (ValueError, TypeError):
                broken.append(name)
    if broken or len(list(folder.glob("*.pt"))) > 1:  # a run killed in its first save leaves one file and no list
        raise UserError(
            "neither list of checkpoints can be read",
            where=f"{folder / MANIFEST}, {folder / OLD_MANIFEST}",
            fix="restore one of them, or start afresh under another name (run.name)",
        )
    return [], []


def intact(folder: Path, entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """(entries that a run can go on from, names of damaged files): a stage whose output is damaged ends the list,
    because what came after was made from it; a damaged step is only passed over."""
    good: list[Entry] = []
    damaged: list[str] = []
    for entry in entries:
        if matches(folder, entry):
            good.append(entry)
            continue
        damaged.append(entry.file)
        if entry.step is None:
            break
    return good, damaged


def matches(folder: Path, entry: Entry) -> bool:
    """The entry's file is there, as it was written."""
    try:
        return checksum(folder / entry.file) == entry.sha256
    except FileNotFoundError:
        return False


def seal(folder: Path) -> None:
    """Writes `files.json`, the checksums of all that a finished run gives: the last thing that a run does."""
    sums = {name: checksum(folder / name) for name in product_files(folder)}
    write_atomic(folder / SEAL, (json.dumps(sums, indent=1) + "\n").encode())


def product_files(folder: Path) -> Iterator[str]:
    """Names of the files that a run gives, as far as they are there."""
    for pattern in PRODUCT:
        yield from (str(path.relative_to(folder)) for path in sorted(folder.glob(pattern)) if path.is_file())


def checksum(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
