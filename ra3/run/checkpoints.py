"""Checkpoints: what a run has finished, and how far it is in what it has not; and the checksums of what it gives.

A run is a sequence of named stages ("estep-0", "annotate-0.00000", "mstep-0", ...). The output of a finished stage is
kept for good; inside a stage the state after a step is saved now and then, and the last two checkpoints are there.
`checkpoints/manifest.json` is the commit point: a file counts once it is written, synced and listed there with its
checksum; the list before it stays as `manifest.old.json`. No random-number state is saved because there is none: every
seed is derived from the run's seed and the place it is used at. What is damaged is passed over and done again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ra3 import ranks
from ra3.errors import UserError
from ra3.run.files import checksum, remove_temporary_files, write_atomic
from ra3.run.folder import Run

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST, OLD_MANIFEST = "manifest.json", "manifest.old.json"
SHARE = "a share"
"""What stands for a tensor that is among the shares is (SHARE, its name there)."""
CHECKSUMS = "files.json"
"""The last file that a run writes: the checksums of all that it gives."""
GIVEN = ("config.json", "inputs.json", "metrics.jsonl", "rollouts.jsonl", "annotated.jsonl", "results.json", "model/*")
"""What a run gives."""


@dataclass(frozen=True)
class CheckpointEntry:
    """One saved file, as the manifest lists it."""

    stage: str
    step: int | None  # steps done; None for the output of a finished stage
    file: str
    sha256: str
    position: dict[str, int]  # bytes of the metrics files at this moment
    shares: dict[str, str] = field(default_factory=dict)  # checksums of the files that ranks wrote their shares into

    @property
    def folder(self) -> str:
        """The folder of the shares."""
        return f"{self.file}.shares"

    def is_intact(self, folder: Path) -> bool:
        """Whether the file is there, as it was written, and the shares are."""
        sums = {self.file: self.sha256} | {f"{self.folder}/{name}": own for name, own in self.shares.items()}
        return all((folder / name).exists() and checksum(folder / name) == own for name, own in sums.items())


ENTRIES = TypeAdapter(list[CheckpointEntry])


class Checkpoints:
    """The checkpoints of one run folder, up to the first that was made when its metrics files had more bytes than the
    `sizes` they have now. `warnings`: what was found damaged, and from where the run goes on instead."""

    def __init__(self, run: Run, sizes: Mapping[str, int]):
        self._run, self._folder = run, run.path("checkpoints")
        self.entries: list[CheckpointEntry] = []
        with run.guard("open the checkpoints"):
            self._folder.mkdir(exist_ok=True)
            remove_temporary_files(self._folder)
            listed, broken = read_manifest(self._folder)
            damaged = [f"{self._folder.name}/{name}" for name in broken]
            for entry in listed:
                if short := [name for name, size in sizes.items() if size < entry.position.get(name, 0)]:
                    damaged += short  # the lines that are lost are made again
                    break
                if entry.is_intact(self._folder):
                    self.entries.append(entry)
                    continue
                damaged.append(f"{self._folder.name}/{entry.file}")
                if entry.step is None:
                    break  # what came after was made from it; a damaged step is only passed over
        newest = self.entries[-1] if self.entries else CheckpointEntry("", None, "", "", {})
        self.position = newest.position
        """Bytes of the metrics files when the newest intact checkpoint was made; {} where there is none."""
        found = "; ".join(f"{name} is missing or damaged" for name in damaged)
        point = f"step {newest.step}" if newest.step else "the end"
        place = f"{point} of {newest.stage}" if newest.stage else "its beginning"
        self.warnings = [f"{found}; the run goes on from {place}"] if damaged else []

    def output(self, stage: str) -> dict[str, Any] | None:
        """The output of a finished stage, or None."""
        return next((self._load(e) for e in self.entries if e.stage == stage and e.step is None), None)

    def newest_step(self, stage: str) -> tuple[int, dict[str, Any]] | None:
        """(steps done, state) of the newest checkpoint inside `stage`, or None."""
        return next(((e.step, self._load(e)) for e in reversed(self.entries) if e.stage == stage and e.step), None)

    def save(self, stage: str, step: int | None, state: dict[str, Any], position: dict[str, int]) -> None:
        """Saves the state after `step` steps of `stage`, or its output (step None); all ranks are needed where they
        hold shares of it. The checkpoint before it is kept, older ones inside stages are removed."""
        name = f"{stage}.pt" if step is None else f"{stage}.step-{step:06d}.pt"
        entry = CheckpointEntry(stage, step, name, "", position)
        with self._run.guard("save a checkpoint"):
            state, shares = write_shares(self._folder / entry.folder, state)
            if ranks.rank():
                return
            data, sha256 = to_bytes(state)
            entry = replace(entry, sha256=sha256, shares=shares)
            write_atomic(self._folder / name, data)
            kept = [e for e in self.entries if e.file != name]
            retired = [e for e in kept if e.step is not None and (e.stage != stage or e is not kept[-1])]
            self.entries = [e for e in kept if e not in retired] + [entry]
            manifest = self._folder / MANIFEST
            if manifest.exists():
                manifest.replace(self._folder / OLD_MANIFEST)
            write_atomic(manifest, ENTRIES.dump_json(self.entries, indent=1))
            for old in retired:
                (self._folder / old.file).unlink(missing_ok=True)
                shutil.rmtree(self._folder / old.folder, ignore_errors=True)

    def _load(self, entry: CheckpointEntry) -> dict[str, Any]:
        import torch

        state = torch.load(self._folder / entry.file, map_location="cpu", weights_only=True)
        folder = (self._folder / entry.folder).resolve()
        return with_leaves(state, lambda leaf: SavedTensor(folder, leaf[1]) if is_share(leaf) else leaf)


@dataclass(frozen=True)
class SavedTensor:
    """A tensor that ranks have written their shares of. Any other number of ranks can read theirs, or one all of it."""

    folder: Path
    name: str

    def like(self, own: Tensor) -> Tensor:
        """[...] it, spread over the ranks as `own` is."""
        return self._read_into(own.detach().clone())

    def whole(self) -> Tensor:
        """[...] all of it."""
        import torch
        from torch.distributed.checkpoint.filesystem import FileSystemReader

        listed: Any = FileSystemReader(self.folder).read_metadata().state_dict_metadata[self.name]
        return self._read_into(torch.empty(listed.size, dtype=listed.properties.dtype))

    def _read_into(self, found: Tensor) -> Tensor:
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.state_dict_loader import load

        load({self.name: found}, storage_reader=FileSystemReader(self.folder), no_dist=True)
        return found


def write_shares(folder: Path, state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Writes what is spread over the ranks into a new folder, all ranks together, a tensor with two names once: a
    torch.distributed.checkpoint. Returns the rest of the state, and the checksum of every file."""
    names, spread = dict[int, str](), dict[str, Any]()

    def set_aside(leaf: Any) -> Any:
        if not hasattr(leaf, "full_tensor"):
            return leaf
        name = names.setdefault(id(leaf), f"{len(names):06d}")
        spread[name] = leaf
        return SHARE, name

    rest = with_leaves(state, set_aside)
    if not spread:
        return state, {}
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    def cleared() -> Path:
        shutil.rmtree(folder, ignore_errors=True)  # what ranks that died have left
        return folder.resolve()

    folder = ranks.from_first(cleared)
    with ranks.together():
        try:
            save(spread, storage_writer=FileSystemWriter(folder))
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error
    own = [*folder.glob(f"__{ranks.rank()}_*"), *([] if ranks.rank() else [folder / ".metadata"])]
    told = ranks.from_all({file.name: checksum(file) for file in own})
    return rest, {name: found for part in told for name, found in part.items()}


def is_share(leaf: Any) -> bool:
    """Whether a leaf stands for a tensor that is among the shares."""
    return isinstance(leaf, tuple) and leaf[:1] == (SHARE,)


def with_leaves(tree: Any, by: Callable[[Any], Any]) -> Any:
    """A tree of dicts and lists with `by(leaf)` in the place of each leaf."""
    if isinstance(tree, dict):
        return {name: with_leaves(value, by) for name, value in tree.items()}
    return [with_leaves(value, by) for value in tree] if isinstance(tree, list) else by(tree)


def to_bytes(state: dict[str, Any]) -> tuple[memoryview, str]:
    """(what a checkpoint's file holds, its checksum)."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    return data, hashlib.sha256(data).hexdigest()


def read_manifest(folder: Path) -> tuple[list[CheckpointEntry], list[str]]:
    """(entries of the newest readable manifest, names of manifests that cannot be read); a fresh folder: no entries.

    UserError if there are checkpoints and no readable manifest."""
    broken = []
    for name in (MANIFEST, OLD_MANIFEST):
        if (folder / name).exists():
            try:
                if entries := ENTRIES.validate_json((folder / name).read_bytes()):  # no list is ever written empty
                    return entries, broken
            except ValueError:
                pass
            broken.append(name)
    if broken or len(list(folder.glob("*.pt"))) > 1:  # a run killed in its first save leaves one file and no list
        where = f"{folder / MANIFEST}, {folder / OLD_MANIFEST}"
        fix = "restore one of them, or start afresh under another name (run.name)"
        raise UserError("neither list of checkpoints can be read", where, fix=fix)
    return [], []


def product_files(folder: Path) -> list[str]:
    """Names of the files that a run gives, as far as they are there."""
    paths = [path for pattern in GIVEN for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [str(path.relative_to(folder)) for path in paths]


def write_checksums(folder: Path) -> None:
    """Writes `files.json`, which says that the run in `folder` is finished: the last thing that a run does."""
    sums = {name: checksum(folder / name) for name in product_files(folder)}
    write_atomic(folder / CHECKSUMS, (json.dumps(sums, indent=1) + "\n").encode())
