"""Every benchmark by name. ``"humaneval+"`` is fetched, ``"humaneval+:HumanEvalPlus.jsonl.gz"`` is read from a file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ra3.benchmarks.evalplus import humaneval_plus, mbpp_plus
from ra3.benchmarks.fetch import Hub, Release, local_files
from ra3.benchmarks.humaneval import humaneval
from ra3.benchmarks.livecodebench import livecodebench
from ra3.benchmarks.mbpp import mbpp
from ra3.benchmarks.rows import Row, read_rows
from ra3.benchmarks.stdio import apps, code_contests, codeforces
from ra3.errors import UserError
from ra3.grading.problems import Problem

RELEASES = "https://github.com/evalplus"
HUMANEVAL_PLUS = Release(
    f"{RELEASES}/humanevalplus_release/releases/download/v0.1.10/HumanEvalPlus.jsonl.gz",
    "fe585eb4df8c88d844eeb463ea4d0302",
)
MBPP_PLUS = Release(
    f"{RELEASES}/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz", "ee43ecabebf20deef4bb776a405ac5b1"
)
MBPP = Hub("google-research-datasets/mbpp", ("full/*.parquet",))


@dataclass(frozen=True)
class Loaded:
    """A benchmark's problems, and by id why others of its file cannot be graded."""

    name: str
    problems: list[Problem]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark's files are and how its rows become problems."""

    title: str
    source: Hub | Release
    convert: Callable[[Sequence[Row]], list[Problem] | tuple[list[Problem], dict[str, str]]]


def _livecodebench(*shards: str) -> Benchmark:
    source = Hub("livecodebench/code_generation_lite", shards)
    return Benchmark("LiveCodeBench, code generation (lite)", source, livecodebench)


BENCHMARKS = {
    "humaneval": Benchmark(
        "HumanEval", Hub("openai/openai_humaneval", ("openai_humaneval/test-*.parquet",)), humaneval
    ),
    "humaneval+": Benchmark("HumanEval+ v0.1.10", HUMANEVAL_PLUS, humaneval_plus),
    "mbpp": Benchmark("MBPP, test split (11-510)", MBPP, mbpp),
    "mbpp-validation": Benchmark("MBPP, validation split (511-600)", MBPP, partial(mbpp, split="validation")),
    "mbpp-train": Benchmark("MBPP, training split (601-974)", MBPP, partial(mbpp, split="train")),
    "mbpp-all": Benchmark("MBPP, all 974", MBPP, partial(mbpp, split="all")),
    "mbpp+": Benchmark("MBPP+ v0.2.0", MBPP_PLUS, mbpp_plus),
    "livecodebench": _livecodebench("test*.jsonl"),
    "livecodebench-v1": _livecodebench("test.jsonl"),
    "codecontests": Benchmark(
        "CodeContests, test split", Hub("deepmind/code_contests", ("data/test-*.parquet",)), code_contests
    ),
    "codecontests-train": Benchmark(
        "CodeContests, training split", Hub("deepmind/code_contests", ("data/train-*.parquet",)), code_contests
    ),
    "codeforces": Benchmark(
        "Codeforces, verifiable, test split", Hub("open-r1/codeforces", ("verifiable/test-*.parquet",)), codeforces
    ),
    "codeforces-train": Benchmark(
        "Codeforces, verifiable, training split", Hub("open-r1/codeforces", ("verifiable/train-*.parquet",)), codeforces
    ),
    "apps": Benchmark("APPS, test split", Hub("codeparrot/apps", ("test.jsonl",)), apps),
    "apps-train": Benchmark("APPS, training split", Hub("codeparrot/apps", ("train.jsonl",)), apps),
}


def named(text: str) -> tuple[str, str] | None:
    """(name, file or "") of ``NAME`` or ``NAME:FILE``; None where no benchmark has this name."""
    name, _, path = text.partition(":")
    return (name, path) if name in BENCHMARKS else None


def load_benchmark(text: str) -> Loaded:
    """The problems of ``NAME`` or ``NAME:FILE``. UserError for an unknown name, a bad file or a bad row."""
    found = named(text)
    if found is None:
        close = difflib.get_close_matches(text.partition(":")[0], BENCHMARKS, n=1)
        raise UserError(
            "no such benchmark", where=text, allowed=", ".join(BENCHMARKS),
            fix=f"did you mean {close[0]}?" if close else "",
        )  # fmt: skip
    name, path = found
    files = local_files(path) if path else BENCHMARKS[name].source.files()
    rows = [row for file in files for row in read_rows(file)]
    converted = BENCHMARKS[name].convert(rows)
    problems, left_out = converted if isinstance(converted, tuple) else (converted, {})
    _refuse(problems, path or name)
    for problem in problems:
        problem.meta["band"] = name
    return Loaded(name, problems, left_out)


def _refuse(problems: list[Problem], where: str) -> None:
    if not problems:
        raise UserError("this benchmark file holds no problem that can be graded", where=where)
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise UserError(f"the task {problem.id!r} is there twice", where=where)
        seen.add(problem.id)
