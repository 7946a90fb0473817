"""Where benchmark files come from: a path, the Hugging Face hub, or EvalPlus's releases."""

from __future__ import annotations

import gzip
import hashlib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ra3.benchmarks.references import cache_folder
from ra3.benchmarks.rows import FORMATS
from ra3.errors import UserError
from ra3.run.files import write_atomic

TIMEOUT_S = 60


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub: ``Hub("openai/openai_humaneval", ("openai_humaneval/test-*.parquet",))``."""

    repository: str
    patterns: tuple[str, ...]

    def files(self) -> list[Path]:
        """Its files on this machine, downloaded if they are not there yet."""
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(self.repository, repo_type="dataset", allow_patterns=list(self.patterns)))
        except Exception as error:  # the hub's own, or any of its HTTP library's, which differs between versions
            raise UserError(
                f"cannot be downloaded from the hub: {(str(error).splitlines() or [repr(error)])[0]}",
                where=self.repository, fix="name a file on this machine, BENCHMARK:FILE",
            ) from error  # fmt: skip
        found = sorted(file for pattern in self.patterns for file in folder.glob(pattern))
        if not found:
            raise UserError("the hub has no such files", where=self.repository, allowed=", ".join(self.patterns))
        return found


@dataclass(frozen=True)
class Release:
    """One gzipped file of a release, known by the MD5 of its content."""

    url: str
    md5: str

    def files(self) -> list[Path]:
        """The file on this machine, downloaded if it is not there yet. UserError if it is not the one that is meant."""
        path = cache_folder() / self.url.rpartition("/")[2].replace(".jsonl", f"-{self.md5[:8]}.jsonl")
        if not path.is_file():
            data = self._download()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
        return [path]

    def _download(self) -> bytes:
        try:
            with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as answer:
                data = answer.read()
            found = hashlib.md5(gzip.decompress(data), usedforsecurity=False).hexdigest()
        except (urllib.error.URLError, OSError, EOFError) as error:
            fix = "name a file on this machine, BENCHMARK:FILE"
            raise UserError(f"cannot be downloaded: {error}", where=self.url, fix=fix) from error
        if found != self.md5:
            raise UserError(f"this is another file: its MD5 is {found}", where=self.url, allowed=self.md5)
        return data


def local_files(path: str) -> Sequence[Path]:
    """The file at a path, or the benchmark files of a folder."""
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    found = sorted(file for pattern in ("*.jsonl*", "*.json*", "*.parquet") for file in place.glob(pattern))
    found = list(dict.fromkeys(found))
    if not found:
        what = "this folder holds no benchmark files" if place.is_dir() else "there is no such file"
        raise UserError(what, where=path, allowed=f"a file, or a folder of files: {FORMATS}")
    return found
