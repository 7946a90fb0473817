"""Every benchmark by name, and where its files come from: a path, the Hugging Face hub, or EvalPlus's releases.

``"humaneval+"`` is fetched, ``"humaneval+:HumanEvalPlus.jsonl.gz"`` is read from a file.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ra3.benchmarks.contests import LeftOut, apps, code_contests, codeforces, livecodebench, row_id
from ra3.benchmarks.evalplus import cache_folder, humaneval_plus, mbpp_plus
from ra3.benchmarks.humaneval_mbpp import humaneval, mbpp
from ra3.data.tables import FORMATS, Row, load_rows
from ra3.errors import UserError
from ra3.grading.problems import Problem
from ra3.run.files import write_atomic

TIMEOUT_S = 60


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub: ``Hub("openai/openai_humaneval", "openai_humaneval/test-*.parquet")``."""

    repository: str
    pattern: str

    def files(self) -> list[Path]:
        """Return its files on this machine, downloaded if they are not there yet."""
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(self.repository, repo_type="dataset", allow_patterns=[self.pattern]))
        except Exception as error:  # the hub's own, or any of its HTTP library's, which differs between versions
            raise UserError(
                f"cannot be downloaded from the hub: {(str(error).splitlines() or [repr(error)])[0]}",
                where=self.repository,
                fix="name a file on this machine, BENCHMARK:FILE",
            ) from error
        found = sorted(folder.glob(self.pattern))
        if not found:
            raise UserError("the hub has no such files", where=self.repository, allowed=self.pattern)
        return found


@dataclass(frozen=True)
class Release:
    """One gzipped file of a release, known by the MD5 of its content."""

    url: str
    md5: str

    def files(self) -> list[Path]:
        """Return the file on this machine, downloaded if it is not there yet. UserError if it is another one."""
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


@dataclass(frozen=True)
class Loaded:
    """A benchmark's problems, and by id why others of its file cannot be graded."""

    name: str
    problems: list[Problem]
    left_out: dict[str, str] = field(default_factory=dict)


Converted = tuple[list[Problem], dict[str, str]]
"""Problems, and reasons of those left out by id."""


def by_row(convert: Callable[[Row], Problem | None], rows: Sequence[Row]) -> Converted:
    """Convert row by row: None is no part of the split that is asked for, LeftOut cannot be graded."""
    problems, left_out = [], {}
    for row in rows:
        try:
            problem = convert(row)
        except LeftOut as reason:
            left_out[row_id(row)] = str(reason)
        else:
            problems += [problem] if problem else []
    return problems, left_out


def together(convert: Callable[[Sequence[Row]], list[Problem]], rows: Sequence[Row]) -> Converted:
    """Convert all rows at once, none left out."""
    return convert(rows), {}


EVALPLUS = "https://github.com/evalplus"
HUMANEVAL_PLUS = Release(
    f"{EVALPLUS}/humanevalplus_release/releases/download/v0.1.10/HumanEvalPlus.jsonl.gz",
    "fe585eb4df8c88d844eeb463ea4d0302",
)
MBPP_PLUS = Release(
    f"{EVALPLUS}/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz", "ee43ecabebf20deef4bb776a405ac5b1"
)
MBPP = Hub("google-research-datasets/mbpp", "full/*.parquet")
LIVECODEBENCH = "livecodebench/code_generation_lite"
CONTESTS, FORCES, APPS = "deepmind/code_contests", "open-r1/codeforces", "codeparrot/apps"
BENCHMARKS: dict[str, tuple[Hub | Release, Callable[[Sequence[Row]], Converted]]] = {
    "humaneval": (Hub("openai/openai_humaneval", "openai_humaneval/test-*.parquet"), partial(by_row, humaneval)),
    "humaneval+": (HUMANEVAL_PLUS, partial(together, humaneval_plus)),
    "mbpp": (MBPP, partial(by_row, mbpp)),
    "mbpp-validation": (MBPP, partial(by_row, partial(mbpp, split="validation"))),
    "mbpp-train": (MBPP, partial(by_row, partial(mbpp, split="train"))),
    "mbpp-all": (MBPP, partial(by_row, partial(mbpp, split="all"))),
    "mbpp+": (MBPP_PLUS, partial(together, mbpp_plus)),
    "livecodebench": (Hub(LIVECODEBENCH, "test*.jsonl"), partial(by_row, livecodebench)),
    "livecodebench-v1": (Hub(LIVECODEBENCH, "test.jsonl"), partial(by_row, livecodebench)),
    "codecontests": (Hub(CONTESTS, "data/test-*.parquet"), partial(by_row, code_contests)),
    "codecontests-train": (Hub(CONTESTS, "data/train-*.parquet"), partial(by_row, code_contests)),
    "codeforces": (Hub(FORCES, "verifiable/test-*.parquet"), partial(by_row, codeforces)),
    "codeforces-train": (Hub(FORCES, "verifiable/train-*.parquet"), partial(by_row, codeforces)),
    "apps": (Hub(APPS, "test.jsonl"), partial(by_row, apps)),
    "apps-train": (Hub(APPS, "train.jsonl"), partial(by_row, apps)),
}
"""By name: where its files are, and how their rows become problems."""


def named(text: str) -> tuple[str, str] | None:
    """Return (name, file or "") of ``NAME`` or ``NAME:FILE``; None where no benchmark has this name."""
    name, _, path = text.partition(":")
    return (name, path) if name in BENCHMARKS else None


def load_benchmark(text: str) -> Loaded:
    """Load the problems of ``NAME`` or ``NAME:FILE``. UserError for an unknown name, a bad file or a bad row."""
    found = named(text)
    if found is None:
        close = difflib.get_close_matches(text.partition(":")[0], BENCHMARKS, n=1)
        fix = f"did you mean {close[0]}?" if close else ""
        raise UserError("no such benchmark", where=text, allowed=", ".join(BENCHMARKS), fix=fix)
    name, path = found
    source, convert = BENCHMARKS[name]
    files = local_files(path) if path else source.files()
    problems, left_out = convert([row for file in files for row in load_rows(file)])
    if not problems:
        raise UserError("this benchmark file holds no problem that can be graded", where=path or name)
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise UserError(f"the task {problem.id!r} is there twice", where=path or name)
        seen.add(problem.id)
        problem.meta["band"] = name
    return Loaded(name, problems, left_out)


def local_files(path: str) -> Sequence[Path]:
    """Return the file at a path, or the benchmark files of a folder."""
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    found = sorted({file for pattern in ("*.json*", "*.parquet") for file in place.glob(pattern)})
    if not found:
        what = "this folder holds no benchmark files" if place.is_dir() else "there is no such file"
        raise UserError(what, where=path, allowed=f"a file, or a folder of files: {FORMATS}")
    return found
