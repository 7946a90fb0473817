"""Every benchmark by name, and where its files come from: a path, the Hugging Face hub, or EvalPlus's releases.

``"humaneval+"`` is fetched, ``"humaneval+:HumanEvalPlus.jsonl.gz"`` is read from a file.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ra3.benchmarks.contests import LeftOut, apps, code_contests, codeforces, livecodebench
from ra3.benchmarks.evalplus import answered, cache_folder, evalplus
from ra3.benchmarks.humaneval_mbpp import HUMANEVAL_STOP, MBPP_STOP, humaneval, mbpp
from ra3.config.load import path_of
from ra3.data.tables import FORMATS, Row, load_rows
from ra3.errors import UserError
from ra3.grading.problems import Problem
from ra3.run.files import write_atomic

TIMEOUT_S = 60
NAME_A_FILE = "name a file on this machine, BENCHMARK:FILE"


def hub_files(repository: str, pattern: str) -> list[Path]:
    """Return files of a data set on the Hugging Face hub, downloaded if they are not on this machine yet."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, repo_type="dataset", allow_patterns=[pattern]))
    except Exception as error:  # the hub's own, or any of its HTTP library's, which differs between versions
        what = f"cannot be downloaded from the hub: {(str(error).splitlines() or [repr(error)])[0]}"
        raise UserError(what, where=repository, fix=NAME_A_FILE) from error
    found = sorted(folder.glob(pattern))
    if not found:
        raise UserError("the hub has no such files", where=repository, allowed=pattern)
    return found


def release_files(url: str, md5: str) -> list[Path]:
    """Return the one gzipped file of a release, downloaded if it is not on this machine yet.

    UserError if the MD5 of its content is another.
    """
    path = cache_folder() / url.rpartition("/")[2].replace(".jsonl", f"-{md5[:8]}.jsonl")
    if path.is_file():
        return [path]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            data = answer.read()
        found = hashlib.md5(gzip.decompress(data), usedforsecurity=False).hexdigest()
    except (OSError, EOFError, zlib.error, HTTPException) as error:
        raise UserError(f"cannot be downloaded: {error or repr(error)}", where=url, fix=NAME_A_FILE) from error
    if found != md5:
        raise UserError(f"this is another file: its MD5 is {found}", where=url, allowed=md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return [path]


@dataclass(frozen=True)
class Loaded:
    """A benchmark's problems, and by id why others of its file cannot be graded."""

    name: str
    problems: list[Problem]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark's files are, and how their rows become problems."""

    files: Callable[[], list[Path]]
    convert: Callable[[Any], Problem | None]
    """A row, or what ``prepare`` made of it; None: it is no part of the split, LeftOut: it cannot be graded."""
    prepare: Callable[[Sequence[Row]], Sequence[Any]] = list
    """Runs once, on all rows, before ``convert``."""


EVALPLUS = "https://github.com/evalplus/{}_release/releases/download/{}.jsonl.gz"
HUMANEVAL = partial(hub_files, "openai/openai_humaneval", "openai_humaneval/test-*.parquet")
HUMANEVAL_PLUS = EVALPLUS.format("humanevalplus", "v0.1.10/HumanEvalPlus"), "fe585eb4df8c88d844eeb463ea4d0302"
MBPP_PLUS = EVALPLUS.format("mbppplus", "v0.2.0/MbppPlus"), "ee43ecabebf20deef4bb776a405ac5b1"
MBPP = partial(hub_files, "google-research-datasets/mbpp", "full/*.parquet")
LIVECODEBENCH = partial(hub_files, "livecodebench/code_generation_lite")
CODE_CONTESTS = partial(hub_files, "deepmind/code_contests")
CODEFORCES = partial(hub_files, "open-r1/codeforces")
APPS = partial(hub_files, "codeparrot/apps")
BENCHMARKS = {
    "humaneval": Benchmark(HUMANEVAL, humaneval),
    "humaneval+": Benchmark(partial(release_files, *HUMANEVAL_PLUS), partial(evalplus, stop=HUMANEVAL_STOP), answered),
    "mbpp": Benchmark(MBPP, mbpp),
    "mbpp-validation": Benchmark(MBPP, partial(mbpp, split="validation")),
    "mbpp-train": Benchmark(MBPP, partial(mbpp, split="train")),
    "mbpp-all": Benchmark(MBPP, partial(mbpp, split="all")),
    "mbpp+": Benchmark(partial(release_files, *MBPP_PLUS), partial(evalplus, stop=MBPP_STOP), answered),
    "livecodebench": Benchmark(partial(LIVECODEBENCH, "test*.jsonl"), livecodebench),
    "livecodebench-v1": Benchmark(partial(LIVECODEBENCH, "test.jsonl"), livecodebench),
    "codecontests": Benchmark(partial(CODE_CONTESTS, "data/test-*.parquet"), code_contests),
    "codecontests-train": Benchmark(partial(CODE_CONTESTS, "data/train-*.parquet"), code_contests),
    "codeforces": Benchmark(partial(CODEFORCES, "verifiable/test-*.parquet"), codeforces),
    "codeforces-train": Benchmark(partial(CODEFORCES, "verifiable/train-*.parquet"), codeforces),
    "apps": Benchmark(partial(APPS, "test.jsonl"), apps),
    "apps-train": Benchmark(partial(APPS, "train.jsonl"), apps),
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
    benchmark, problems, left_out = BENCHMARKS[name], {}, {}
    files = local_files(path) if path else benchmark.files()
    for item in benchmark.prepare([row for file in files for row in load_rows(file)]):
        try:
            if problem := benchmark.convert(item):
                if problem.id in problems:
                    raise UserError(f"the task {problem.id!r} is there twice", where=path or name)
                problem.meta["band"] = name
                problems[problem.id] = problem
        except LeftOut as error:
            left_out[error.id] = str(error)
    if not problems:
        why = "".join(f" ({task}: {reason})" for task, reason in list(left_out.items())[:1])
        raise UserError(f"this benchmark file holds no problem that can be graded{why}", where=path or name)
    return Loaded(name, list(problems.values()), left_out)


def local_files(path: str) -> Sequence[Path]:
    """Return the file at a path, or the benchmark files of a folder."""
    place = path_of(path)
    if place.is_file():
        return [place]
    found = sorted({file for pattern in ("*.json*", "*.parquet") for file in place.glob(pattern)})
    if not found:
        what = "this folder holds no benchmark files" if place.is_dir() else "there is no such file"
        raise UserError(what, where=path, allowed=f"a file, or a folder of files: {FORMATS}")
    return found
