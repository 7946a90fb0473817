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
from typing import Any

from ra3.benchmarks.contests import LeftOut, apps, code_contests, codeforces, livecodebench
from ra3.benchmarks.evalplus import answered, cache_folder, evalplus
from ra3.benchmarks.humaneval_mbpp import HUMANEVAL_STOP, MBPP_STOP, humaneval, mbpp
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


@dataclass(frozen=True)
class Benchmark:
    """The source of a benchmark's files, and the conversion of its rows to problems."""

    source: Hub | Release
    convert: Callable[[Any], Problem | None]
    """A row, or what ``prepare`` made of it; None: it is no part of the split, LeftOut: it cannot be graded."""
    prepare: Callable[[Sequence[Row]], Sequence[Any]] = list
    """Runs once, on all rows, before ``convert``."""

    def problems(self, rows: Sequence[Row]) -> tuple[list[Problem], dict[str, str]]:
        """Return the problems, and by id why others are left out."""
        problems, left_out = [], {}
        for item in self.prepare(rows):
            try:
                problems.append(self.convert(item))
            except LeftOut as error:
                left_out[error.id] = str(error)
        return [problem for problem in problems if problem], left_out


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
BENCHMARKS = {
    "humaneval": Benchmark(Hub("openai/openai_humaneval", "openai_humaneval/test-*.parquet"), humaneval),
    "humaneval+": Benchmark(HUMANEVAL_PLUS, partial(evalplus, stop=HUMANEVAL_STOP), answered),
    "mbpp": Benchmark(MBPP, mbpp),
    "mbpp-validation": Benchmark(MBPP, partial(mbpp, split="validation")),
    "mbpp-train": Benchmark(MBPP, partial(mbpp, split="train")),
    "mbpp-all": Benchmark(MBPP, partial(mbpp, split="all")),
    "mbpp+": Benchmark(MBPP_PLUS, partial(evalplus, stop=MBPP_STOP), answered),
    "livecodebench": Benchmark(Hub(LIVECODEBENCH, "test*.jsonl"), livecodebench),
    "livecodebench-v1": Benchmark(Hub(LIVECODEBENCH, "test.jsonl"), livecodebench),
    "codecontests": Benchmark(Hub(CONTESTS, "data/test-*.parquet"), code_contests),
    "codecontests-train": Benchmark(Hub(CONTESTS, "data/train-*.parquet"), code_contests),
    "codeforces": Benchmark(Hub(FORCES, "verifiable/test-*.parquet"), codeforces),
    "codeforces-train": Benchmark(Hub(FORCES, "verifiable/train-*.parquet"), codeforces),
    "apps": Benchmark(Hub(APPS, "test.jsonl"), apps),
    "apps-train": Benchmark(Hub(APPS, "train.jsonl"), apps),
}


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
    files = local_files(path) if path else BENCHMARKS[name].source.files()
    problems, left_out = BENCHMARKS[name].problems([row for file in files for row in load_rows(file)])
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
