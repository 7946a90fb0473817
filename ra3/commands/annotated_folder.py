"""A folder of annotated text: one annotated file per document, and a manifest that takes the latents out again."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ra3.data.documents import BadRow, Corpus, Document
from ra3.data.latents import remove
from ra3.errors import UserError
from ra3.run.files import disk_errors, read_lines, read_object, remove_temporary_files, to_json, write_atomic
from ra3.run.folder import LOCK_FILES, FolderLock, config_changes

SETTINGS_FILE, MANIFEST, QUARANTINE = ".annotation.json", "manifest.jsonl", "quarantine.jsonl"
LONGEST_NAME, LONGEST_PATH = 200, 1000
"""Bytes of a document's file name and path: what every file system can hold, a temporary name included."""


@dataclass(frozen=True)
class AnnotatedFolder:
    """`<path>/<document id>` for every document, and a line of `<path>/manifest.jsonl`: its id, the sha256 of its
    source, the spans of its latents."""

    path: Path
    written: dict[str, dict[str, Any]]
    """The lines of the manifest by document, those of an earlier attempt too."""

    @classmethod
    @contextmanager
    def open(cls, path: Path, settings: dict[str, Any], resume: bool) -> Iterator[AnnotatedFolder]:
        """Opens a folder that is new or empty, or with `resume` one that the same `settings` began. UserError if it is
        neither."""
        with disk_errors(path, "create the folder"):
            path.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(path)
        with closing(lock):
            folder = cls(path, {})
            with disk_errors(path, "create the folder"):
                folder._begin(to_json(settings), resume)
            yield folder

    def _begin(self, settings: dict[str, Any], resume: bool) -> None:
        content, file = {found.name for found in self.path.iterdir()} - set(LOCK_FILES), self.path / SETTINGS_FILE
        if not content:
            write_atomic(file, json.dumps(settings, indent=2).encode())
            return
        if not (resume and file.name in content):
            fix = "choose another with --out, or add --resume"
            raise UserError("the folder is not empty", where=str(self.path), fix=fix)
        remove_temporary_files(self.path)
        if changes := config_changes(read_object(file), settings):
            what = "the annotation in this folder has other settings:\n  " + "\n  ".join(changes)
            fix = "undo these changes, or choose another folder with --out"
            raise UserError(what, where=str(self.path), fix=fix)
        self.written.update({line["id"]: line for line in read_lines(self.path / MANIFEST) if self._is_intact(line)})
        lines = [json.dumps(line) + "\n" for line in self.written.values()]
        write_atomic(self.path / MANIFEST, "".join(lines).encode())  # without what is half written or damaged

    def _is_intact(self, line: dict[str, Any]) -> bool:
        """The annotated file is there and turns back into its source."""
        try:
            source = remove(self._text(line["id"]), line["latents"])
            return hashlib.sha256(source.encode()).hexdigest() == line["sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the line may be anything
            return False

    def _text(self, name: str) -> str:
        return self.path.joinpath(*_safe_parts(name)).read_bytes().decode("utf-8")

    def write(self, record: dict[str, Any], source: str) -> None:
        """Writes one annotated document, after proof that it turns back into its source."""
        if remove(record["text"], record["latents"]) != source:
            raise AssertionError(f"{record['id']}: removing the latents does not give the source back")
        digest = hashlib.sha256(source.encode()).hexdigest()
        line = {"id": record["id"], "sha256": digest, "latents": record["latents"]}
        with disk_errors(self.path, "write the annotated text"):
            file = self.path.joinpath(*_safe_parts(record["id"]))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, record["text"].encode())
            with (self.path / MANIFEST).open("a") as manifest:
                manifest.write(json.dumps(line) + "\n")
        self.written[record["id"]] = line

    def compiles(self, document: Document) -> bool:
        """Whether a document that is written compiles. AssertionError if its annotated text does no longer."""
        sound = compiles(document.context + document.text)
        if sound and not compiles(document.context + self._text(document.id)):
            raise AssertionError(f"{document.id}: the annotated text does not compile")
        return sound

    def finish(self, corpus: Corpus, compiled: int | None) -> str:
        """Writes down what could not be used; returns what was done in a sentence. `compiled`: None if not checked."""
        latents = sum(len(line["latents"]) for line in self.written.values())
        done = f"{len(self.written)} documents with {latents} latents in {self.path}"
        if compiled is not None:
            done += f"; {compiled} compile, {len(self.written) - compiled} did not before either"
        if corpus.quarantine:
            with disk_errors(self.path, "write quarantine.jsonl"):
                corpus.write_quarantine(self.path / QUARANTINE)
            done += f"; {len(corpus.quarantine)} could not be used, see quarantine.jsonl"
        return f"{done}; removing the latents gives every source back byte for byte"


def placeable(documents: Sequence[Document]) -> tuple[list[Document], list[BadRow]]:
    """The documents that can have a file of their own in such a folder, and why the others cannot."""
    files: dict[tuple[str, ...], str] = {}
    files |= {(name,): "the folder itself" for name in (SETTINGS_FILE, *LOCK_FILES, MANIFEST, QUARANTINE)}
    folders: dict[tuple[str, ...], str] = {}
    good, bad = [], []
    for document in documents:
        parts = tuple(_safe_parts(document.id))
        above = [parts[:depth] for depth in range(1, len(parts))]
        owner = next((files[place] for place in (parts, *above) if place in files), folders.get(parts))
        if owner:
            bad.append(BadRow(document.id, f"its file {'/'.join(parts)} is in the way of {owner}"))
        elif max(len(part.encode()) for part in parts) > LONGEST_NAME or len("/".join(parts).encode()) > LONGEST_PATH:
            bad.append(BadRow(document.id, "its id is too long for a file name"))
        else:
            files[parts] = document.id
            folders |= {place: document.id for place in above if place not in folders}
            good.append(document)
    return good, bad


def _safe_parts(name: str) -> list[str]:
    """A document's id as a path that stays inside the folder: "data.jsonl:12" -> data.jsonl/12."""
    parts = [part for part in name.replace(":", "/").split("/") if part not in ("", ".", "..")]
    return parts or ["document"]


def compiles(text: str) -> bool:
    """Whether a program compiles."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<annotated>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
