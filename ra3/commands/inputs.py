"""The documents and problems of a run - embedded worlds, files, benchmarks - less what must not be trained on."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ra3.benchmarks import Loaded, load_benchmark, named
from ra3.benchmarks.contamination import Index, problem_marks, text_marks
from ra3.benchmarks.null_solutions import paid_null_programs
from ra3.config.tree import Config
from ra3.data.documents import BadRow, Corpus, Document, read
from ra3.errors import UserError
from ra3.grading.problems import Problem, load
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS

if TYPE_CHECKING:
    from ra3.run.recorder import Recorder

SHOWN = 10
WORLD_DOCUMENTS, WORLD_PROBLEMS = 1000, 2000


@dataclass(frozen=True)
class ProblemSet:
    """Problems to train on or to be measured by, and why others of their file are not among them."""

    problems: list[Problem]
    left_out: dict[str, str] = field(default_factory=dict)

    def without(self, reasons: Mapping[str, str], where: str) -> ProblemSet:
        """The set without the problems named, whose reasons join the others. UserError if none is left."""
        kept = [problem for problem in self.problems if problem.id not in reasons]
        if not kept:
            first = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
            raise UserError(f"none of its problems may be used ({first})", where=where)
        return ProblemSet(kept, {**self.left_out, **reasons})

    def noted(self, recorder: Recorder) -> list[Problem]:
        """The problems, after it has been said which are not used and why, and environment.json has all of it."""
        recorder.run.add_facts(problems=len(self.problems), left_out=self.left_out)
        for name, reason in list(self.left_out.items())[:SHOWN]:
            recorder.display.say(f"left out {name}: {reason}")
        if (more := len(self.left_out) - SHOWN) > 0:
            recorder.display.say(f"left out {more} more: see environment.json")
        return self.problems


def load_rl_problems(config: Config, seed: int) -> ProblemSet:
    """Problems to train on, without those that overlap `run.benchmarks`."""
    path, found = config.rlvr.problems, _rl_problems(config, seed)
    index = benchmark_index(config)
    if index is None:
        return found
    overlaps = [index.overlap(problem.id, problem_marks(problem)) for problem in found.problems]
    return found.without({overlap.item: str(overlap) for overlap in overlaps if overlap}, path)


def _rl_problems(config: Config, seed: int) -> ProblemSet:
    if world := WORLDS.get(config.rlvr.problems):
        return ProblemSet(world.problems("rl", seed, WORLD_PROBLEMS, None))
    return _read(config.rlvr.problems)


def earned(found: ProblemSet, sandbox: Sandbox, config: Config) -> dict[str, str]:
    """Why problems of a benchmark are nothing to train on: a program that solves nothing passes their tests."""
    if config.rlvr.unearned == "keep" or not named(config.rlvr.problems):
        return {}
    paid = paid_null_programs(found.problems, sandbox)
    return {name: f"pays a program that gives {values[0]} whatever it is asked" for name, values in paid.items()}


def load_eval_problems(config: Config, seed: int) -> ProblemSet:
    """Problems to evaluate on: `per_band` of each band of an embedded world or a file, all of a benchmark."""
    settings = config.eval
    if world := WORLDS.get(settings.problems):
        return ProblemSet(world.evaluation(seed, settings.per_band))
    found = _read(settings.problems)
    if named(settings.problems) and "per_band" not in settings.model_fields_set:
        return found
    taken: dict[str, int] = {}
    kept = []
    for problem in found.problems:
        band = problem.meta.get("band", "all")
        taken[band] = taken.get(band, 0) + 1
        if taken[band] <= settings.per_band:
            kept.append(problem)
    return replace(found, problems=kept)


def _read(path: str) -> ProblemSet:
    """The problems of a file or a benchmark."""
    if named(path) or not (path.endswith(".jsonl") or Path(path).exists()):
        found = load_benchmark(path)
        return ProblemSet(found.problems, found.left_out)
    return ProblemSet(_same_stop(load(path), path))


def _same_stop(problems: list[Problem], path: str) -> list[Problem]:
    odd = next((p for p in problems if p.stop != problems[0].stop), None)
    if odd is not None:
        raise UserError(
            f"problems {problems[0].id} and {odd.id} have different stop strings",
            where=path,
            allowed="one list of stop strings for all problems of a file",
            fix="split the file",
        )
    return problems


def read_corpus(config: Config) -> Corpus:
    """The documents of `corpus.path`; those that overlap `run.benchmarks` are in the quarantine."""
    corpus, index = read_documents(config), benchmark_index(config)
    if index is None:
        return corpus
    found = [index.overlap(document.id, text_marks(document.text)) for document in corpus.documents]
    overlaps = {overlap.item: overlap for overlap in found if overlap}
    left = [document for document in corpus.documents if document.id not in overlaps]
    return Corpus(left, [*corpus.quarantine, *(BadRow(name, str(found)) for name, found in overlaps.items())])


def read_documents(config: Config) -> Corpus:
    """The documents of `corpus.path` as they are."""
    settings = config.corpus
    if world := WORLDS.get(settings.path):
        count = settings.documents or WORLD_DOCUMENTS
        return Corpus(world.documents("expert", config.run.seed, count), [])
    return read(
        location(settings.path),
        settings.pattern,
        settings.text_key,
        settings.context_key,
        settings.id_key,
        settings.documents,
        settings.max_bad,
    )


def location(path: str) -> str:
    """A corpus path with the alias "stdlib" resolved to the folder it stands for."""
    return sysconfig.get_paths()["stdlib"] if path == "stdlib" else path


def benchmark_index(config: Config) -> Index | None:
    """The marks of `run.benchmarks`; None where none is named."""
    if not config.run.benchmarks:
        return None
    loaded: list[Loaded] = [load_benchmark(name) for name in config.run.benchmarks]
    return Index(loaded)


def overlap_lines(config: Config) -> Iterator[str]:
    """A line for every document and problem that overlaps, then the counts. UserError where no benchmark is named."""
    index = benchmark_index(config)
    if index is None:
        fix = "name them: --run.benchmarks humaneval+,mbpp+"
        raise UserError("there are no benchmarks to compare with", where="run.benchmarks", fix=fix)
    documents, problems = read_documents(config).documents, _rl_problems(config, config.run.seed).problems
    for noun, items in (("documents", documents), ("problems", problems)):
        found = 0
        for item in items:
            marks = text_marks(item.text) if isinstance(item, Document) else problem_marks(item)
            if overlap := index.overlap(item.id, marks):
                found += 1
                yield f"{item.id}: {overlap}"
        yield f"{found} of {len(items)} {noun} overlap {', '.join(config.run.benchmarks)}"
