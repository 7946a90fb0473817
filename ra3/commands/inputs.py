"""What a run works on: the model, documents and problems - embedded worlds, files, benchmarks - less what must not be
trained on."""

from __future__ import annotations

import os
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from ra3.benchmarks import load_benchmark, named
from ra3.benchmarks.contamination import Index, problem_marks, text_marks
from ra3.benchmarks.samples import paid_null_programs
from ra3.config.settings import Config, ModelSettings, RunSettings
from ra3.data.documents import BadRow, Corpus, Document, read, refuse_bad, split_heldout
from ra3.data.latents import EncodedDocument, encode_all
from ra3.errors import UserError
from ra3.grading.problems import Problem, load
from ra3.model.policy import Policy
from ra3.run.files import fingerprint_items
from ra3.run.folder import Run
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS

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

    def record(self, recorder: Recorder) -> list[Problem]:
        """The problems, after it has been said which are not used and why, and environment.json has all of it."""
        recorder.run.add_facts(problems=len(self.problems), left_out=self.left_out)
        for name, reason in list(self.left_out.items())[:SHOWN]:
            recorder.display.say(f"left out {name}: {reason}")
        if (more := len(self.left_out) - SHOWN) > 0:
            recorder.display.say(f"left out {more} more: see environment.json")
        return self.problems


def load_rl_problems(config: Config) -> ProblemSet:
    """Problems to train on, without those that overlap `run.benchmarks`."""
    found = _rl_problems(config)
    return found.without(find_overlaps(config.run.benchmarks, found.problems), config.rlvr.problems)


def _rl_problems(config: Config) -> ProblemSet:
    if world := WORLDS.get(config.rlvr.problems):
        return ProblemSet(world.problems("rl", config.run.seed, WORLD_PROBLEMS, None))
    return _read(config.rlvr.problems)


def vacuous(found: ProblemSet, sandbox: Sandbox, source: str) -> dict[str, str]:
    """Why problems of a benchmark are nothing to train on: a program that solves nothing passes their tests."""
    if not named(source):
        return {}
    paid = paid_null_programs(found.problems, sandbox)
    return {name: f"pays a program that gives {values[0]} whatever it is asked" for name, values in paid.items()}


def load_eval_problems(config: Config) -> ProblemSet:
    """Problems to evaluate on: `per_band` of each band of an embedded world or a file, all of a benchmark."""
    settings = config.eval
    if world := WORLDS.get(settings.problems):
        return ProblemSet(world.evaluation(config.run.seed, settings.per_band))
    found, kept, taken = _read(settings.problems), [], Counter[str]()
    if named(settings.problems) and "per_band" not in settings.model_fields_set:
        return found
    for problem in found.problems:
        taken[band := problem.meta.get("band", "all")] += 1
        if taken[band] <= settings.per_band:
            kept.append(problem)
    return replace(found, problems=kept)


def _read(path: str) -> ProblemSet:
    """The problems of a file or a benchmark."""
    if named(path) or not (path.endswith(".jsonl") or Path(path).exists()):
        found = load_benchmark(path)
        return ProblemSet(found.problems, found.left_out)
    problems = load(path)
    odd = next((p for p in problems if p.stop != problems[0].stop), None)
    if odd is not None:
        raise UserError(
            f"problems {problems[0].id} and {odd.id} have different stop strings",
            where=path,
            allowed="one list of stop strings for all problems of a file",
            fix="split the file",
        )
    return ProblemSet(problems)


def read_corpus(config: Config) -> Corpus:
    """The documents of `corpus.path`; those that overlap `run.benchmarks` are in the quarantine."""
    corpus = _read_documents(config)
    overlaps = find_overlaps(config.run.benchmarks, corpus.documents)
    left = [document for document in corpus.documents if document.id not in overlaps]
    return Corpus(left, [*corpus.quarantine, *(BadRow(*found) for found in overlaps.items())])


def _read_documents(config: Config) -> Corpus:
    own = config.corpus
    if world := WORLDS.get(own.path):
        return Corpus(world.documents("expert", config.run.seed, own.documents or WORLD_DOCUMENTS), [])
    return read(location(own.path), own.pattern, own.columns, own.documents, own.max_bad)


def location(path: str) -> str:
    """A corpus path with the alias "stdlib" resolved to the folder it stands for."""
    return sysconfig.get_paths()["stdlib"] if path == "stdlib" else path


def find_overlaps(benchmarks: tuple[str, ...], items: Sequence[Document | Problem]) -> dict[str, str]:
    """What documents or problems share with the benchmarks, by their ids; nothing where no benchmark is named."""
    if not benchmarks:
        return {}
    index = benchmark_index(benchmarks)
    marks = (text_marks(item.text) if isinstance(item, Document) else problem_marks(item) for item in items)
    found = [index.overlap(item.id, own) for item, own in zip(items, marks, strict=True)]
    return {overlap.item: str(overlap) for overlap in found if overlap}


@cache
def benchmark_index(benchmarks: tuple[str, ...]) -> Index:
    """The marks of these benchmarks."""
    return Index([load_benchmark(name) for name in benchmarks])


def overlap_lines(config: Config) -> Iterator[str]:
    """A line for every document and problem that overlaps, then the counts. UserError where no benchmark is named."""
    benchmarks = config.run.benchmarks
    if not benchmarks:
        fix = "name them: --run.benchmarks humaneval+,mbpp+"
        raise UserError("there are no benchmarks to compare with", where="run.benchmarks", fix=fix)
    documents, problems = _read_documents(config).documents, _rl_problems(config).problems
    for noun, items in (("documents", documents), ("problems", problems)):
        found = find_overlaps(benchmarks, items)
        yield from (f"{name}: {overlap}" for name, overlap in found.items())
        yield f"{len(found)} of {len(items)} {noun} overlap {', '.join(benchmarks)}"


def load_policy(run: RunSettings, model: ModelSettings) -> Policy:
    """Loads the model of `model.path` on the run's device, after setting the number of CPU threads: 0 is every core
    that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(run.threads or cores)
    device = run.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device is available", where=f"run.device = {device}", fix="use run.device=cpu or auto")
    world = WORLDS.get(model.path)
    folder = world.model if world else Path(model.path)
    if not folder.is_dir():
        raise UserError(
            "there is no such model folder",
            where=f"model.path = {folder}",
            allowed=f"a Hugging Face folder on this machine, or an embedded world: {', '.join(WORLDS)}",
            fix="check the path; nothing is downloaded",
        )
    if (folder / "environment.json").exists():
        raise UserError(
            "this is a run folder, not a model folder",
            where=f"model.path = {folder}",
            fix=f"use its model: --model {folder / 'model'}",
        )
    return Policy.load(folder, model.weights, getattr(torch, run.dtype), torch.device(device), run.seed, model.opener)


@dataclass(frozen=True)
class TokenizedCorpus:
    """The documents of a run as ids, and what could not be used."""

    train: list[EncodedDocument]
    heldout: list[EncodedDocument]
    corpus: Corpus

    @property
    def longest(self) -> int:
        """Tokens of the longest document with its context."""
        return max(len(d.context_ids) + sum(map(len, d.step_ids)) for d in (*self.train, *self.heldout))

    def record(self, run: Run) -> tuple[list[EncodedDocument], list[EncodedDocument]]:
        """(training, held-out) documents, after the run folder has got the facts and quarantine.jsonl.

        UserError where the run began with other documents."""
        if self.corpus.quarantine:
            with run.guard("write quarantine.jsonl"):
                self.corpus.write_quarantine(run.path("quarantine.jsonl"))
        run.add_facts(corpus=self.facts())
        run.pin_inputs(
            corpus=fingerprint_items((d.document.id, d.context_ids, d.step_ids) for d in (*self.train, *self.heldout))
        )
        return self.train, self.heldout

    def facts(self) -> dict[str, int]:
        """What was read, in numbers."""
        return {
            "documents": len(self.train),
            "heldout": len(self.heldout),
            "steps": sum(len(d.step_ids) for d in self.train),
            "expert_tokens": sum(len(s) for d in self.train for s in d.step_ids),
            "cut": sum(d.cut for d in (*self.train, *self.heldout)),
            "quarantined": len(self.corpus.quarantine),
        }


def load_documents(config: Config, policy: Policy) -> TokenizedCorpus:
    """The corpus of a run, split into training and held-out documents. UserError where too few can be used, or where
    `corpus.max_tokens` is more than the model reads."""
    if policy.positions and config.corpus.max_tokens > policy.positions:
        raise UserError(
            f"the model in {policy.source} has {policy.positions} positions",
            where=f"corpus.max_tokens = {config.corpus.max_tokens}",
            allowed=f"at most {policy.positions}; comments come on top",
            fix="lower it: longer documents are cut",
        )
    corpus = read_corpus(config)
    encoded = []
    for part in split_heldout(corpus.documents, config.corpus.heldout, config.run.seed):
        good, bad = encode_all(policy.tokenizer, part, policy.syntax, config.corpus.steps, config.corpus.max_tokens)
        encoded.append(good)
        corpus.quarantine.extend(bad)
    if not encoded[0]:
        reasons = "; ".join(f"{row.where}: {row.reason}" for row in corpus.quarantine[:3])
        raise UserError(f"no document can be used: {reasons}", where=config.corpus.path, fix="see corpus.max_tokens")
    refuse_bad(corpus.quarantine, len(encoded[0]) + len(encoded[1]), config.corpus.path, config.corpus.max_bad)
    return TokenizedCorpus(encoded[0], encoded[1], corpus)
