"""A folder of annotated text: one annotated file per document, and a manifest that takes the latents out again."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ra3.corpus import Corpus
from ra3.disk import disk_errors, write_atomic
from ra3.errors import UserError
from ra3.latents import remove


@dataclass
class AnnotatedFolder:
    """Writes `<folder>/<document id>` and `<folder>/manifest.jsonl` (id, sha256 of the source, spans of latents)."""

    path: Path
    check: bool
    documents: int = 0
    latents: int = 0
    compiled: int = 0
    uncompilable: int = 0
    """Documents whose source does not compile either."""

    @classmethod
    def create(cls, path: Path, check: bool) -> AnnotatedFolder:
        """The folder, which must be new or empty."""
        with disk_errors(path, "create the folder"):
            path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UserError("the folder is not empty", where=str(path), fix="choose another with --out")
        return cls(path, check)

    def write(self, record: dict[str, Any], source: str) -> None:
        """Writes one annotated document; with `check`, proves first that it compiles and turns back into its source."""
        if remove(record["text"], record["latents"]) != source:
            raise AssertionError(f"{record['id']}: removing the latents does not give the source back")
        if self.check:
            self._check_compiles(record, source)
        with disk_errors(self.path, "write the annotated text"):
            file = self.path.joinpath(*_safe_parts(record["id"]))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, record["text"].encode())
        self.documents += 1
        self.latents += len(record["latents"])
        digest = hashlib.sha256(source.encode()).hexdigest()
        line = json.dumps({"id": record["id"], "sha256": digest, "latents": record["latents"]})
        with disk_errors(self.path, "write the manifest"), (self.path / "manifest.jsonl").open("a") as manifest:
            manifest.write(line + "\n")

    def finish(self, corpus: Corpus) -> str:
        """Writes down what could not be used; returns what was done in a sentence."""
        left_out = ""
        if corpus.quarantine:
            with disk_errors(self.path, "write quarantine.jsonl"):
                corpus.write_quarantine(self.path / "quarantine.jsonl")
            left_out = f"; {len(corpus.quarantine)} could not be used, see quarantine.jsonl"
        checked = f"; {self.compiled} compile, {self.uncompilable} did not before either" if self.check else ""
        return (
            f"{self.documents} documents with {self.latents} latents in {self.path}{checked}{left_out}; "
            "removing the latents gives every source back byte for byte"
        )

    def _check_compiles(self, record: dict[str, Any], source: str) -> None:
        if not _compiles(record["context"] + source):
            self.uncompilable += 1
        elif _compiles(record["context"] + record["text"]):
            self.compiled += 1
        else:
            raise AssertionError(f"{record['id']}: the annotated text does not compile")


def _safe_parts(name: str) -> list[str]:
    """A document's id as a path that stays inside the folder: "data.jsonl:12" -> data.jsonl/12."""
    parts = [part for part in name.replace(":", "/").split("/") if part not in ("", ".", "..")]
    return parts or ["document"]


def _compiles(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<annotated>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
