"""What a run works on: the model, documents and problems - embedded worlds, files, benchmarks - less what must not be
trained on."""

from __future__ import annotations

import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ra3 import ranks
from ra3.benchmarks import load_benchmark, named
from ra3.benchmarks.contamination import Index, problem_marks, text_marks
from ra3.benchmarks.proofs import can_prove_itself, prove, with_limit
from ra3.benchmarks.samples import paid_null_programs
from ra3.config.conflicts import NEED_HINTS, NEED_TOOLS, ONE_TURN
from ra3.config.settings import Config, ModelSettings, RunSettings
from ra3.data.corpus import read
from ra3.data.documents import BadRow, Corpus, Document, refuse_bad, split_heldout
from ra3.data.latents import EncodedDocument, encode_all
from ra3.errors import UserError
from ra3.grading.problems import Problem, as_request, load
from ra3.model.hub import find_model
from ra3.model.lora import Lora
from ra3.model.policy import Policy
from ra3.model.sharding import ShardedPolicy
from ra3.rollout.programs import encode_prompts
from ra3.run.files import fingerprint_items
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS
from ra3.worlds.world import World

SHOWN = 10
WORLD_DOCUMENTS, WORLD_PROBLEMS = 1000, 2000
MOST_HELDOUT = 32
"""Documents of a corpus that are held out at the most, whatever `corpus.heldout` says."""


@dataclass(frozen=True)
class ProblemSet:
    """Problems to train on or to be measured by, and why others of their source are not among them."""

    source: str
    problems: list[Problem]
    left_out: dict[str, str] = field(default_factory=dict)

    def without(self, reasons: Mapping[str, str]) -> ProblemSet:
        """The set without the problems named, whose reasons join the others. UserError if none is left."""
        kept = [problem for problem in self.problems if problem.id not in reasons]
        if not kept:
            first = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
            raise UserError(f"none of its problems may be used ({first})", where=self.source)
        return replace(self, problems=kept, left_out={**self.left_out, **reasons})

    def in_part(self, answered: Collection[str]) -> ProblemSet:
        """The set with only the problems named. Where these are not all of a band, its name says so: a score over tasks
        that somebody chose to answer is none of the benchmark's."""
        kept = self.without({problem.id: "it has no sample" for problem in self.problems if problem.id not in answered})
        whole, part = (Counter(problem.band for problem in own.problems) for own in (self, kept))
        names = {band: f"{band}, {part[band]} of {whole[band]} tasks" for band in part if part[band] < whole[band]}
        marked = [replace(p, meta=p.meta | {"band": names.get(p.band, p.band)}) for p in kept.problems]
        return replace(kept, problems=marked)

    def judged_by(self, what: str, setting: str) -> ProblemSet:
        """The set itself. UserError where a problem lacks the `tests` or the `reference` that it is judged by."""
        if lacking := [problem.id for problem in self.problems if not getattr(problem, what)]:
            found = f"{len(lacking)} of its {len(self.problems)} problems have no {what} ({', '.join(lacking[:3])})"
            raise UserError(found, self.source, f"problems with {what}", f"see {setting}, or take others")
        return self

    def put(self, prompt: str) -> ProblemSet:
        """The set as it is put to the model: of a chat, every program to complete is a request for one."""
        return replace(self, problems=[*map(as_request, self.problems)]) if prompt == "chat" else self

    def vacuous(self, sandbox: Sandbox) -> dict[str, str]:
        """Why problems of a benchmark are nothing to train on: a program that solves nothing passes their tests."""
        paid = paid_null_programs(self.problems, sandbox) if named(self.source) else {}
        return {name: f"pays a program that gives {values[0]} whatever it is asked" for name, values in paid.items()}

    def proved(self, recorder: Recorder, sandbox: Sandbox) -> ProblemSet:
        """The set without problems that their own references or checkers disprove, and with time enough for the others;
        those of a world need no proof."""
        if self.source in WORLDS:
            return self
        able = [problem for problem in self.problems if can_prove_itself(problem)]
        if taken := len(self.problems) - len(able):
            recorder.display.say(f"{taken} of {len(self.problems)} problems have no reference: taken as they are")
        found = recorder.once("proofs", lambda: prove(able, sandbox)) if able else {}
        times = {name: cpu_s for name, cpu_s in found.items() if isinstance(cpu_s, float)}
        timed = [with_limit(p, times[p.id]) if p.id in times else p for p in self.problems]
        return replace(self, problems=timed).without({name: why for name, why in found.items() if name not in times})

    def record(self, recorder: Recorder) -> list[Problem]:
        """The problems, after it has been said which are not used and why, and environment.json has all of it."""
        if self.left_out:
            whole = len(self.problems) + len(self.left_out)
            recorder.display.say(f"{len(self.left_out)} of {whole} problems are left out, and not scored")
        recorder.run.add_facts(problems=len(self.problems), left_out=self.left_out)
        for name, reason in list(self.left_out.items())[:SHOWN]:
            recorder.display.say(f"left out {name}: {reason}")
        if (more := len(self.left_out) - SHOWN) > 0:
            recorder.display.say(f"left out {more} more: see environment.json")
        return self.problems


def load_rl_problems(config: Config) -> ProblemSet:
    """Problems to train on, without those that overlap `run.benchmarks`."""
    found = _read(config.rlvr.problems, lambda world: world.problems("rl", config.run.seed, WORLD_PROBLEMS, None))
    found = found.judged_by("tests" if config.rlvr.reward == "tests" else "reference", "rlvr.reward")
    if config.rlvr.method in NEED_HINTS:
        found = found.judged_by("reference", "rlvr.method")
    if needed := NEED_TOOLS.get(config.rlvr.method):
        found = found.judged_by(needed, "rlvr.method")
    one_turn = "rlvr.method" if config.rlvr.method in ONE_TURN else "rlvr.reward"
    if (config.rlvr.method in ONE_TURN or config.rlvr.reward != "tests") and any(p.tools for p in found.problems):
        what = f"{one_turn} = {config.flat()[one_turn]} writes programs in one turn, and problems have tools"
        raise UserError(what, found.source, fix=f"choose another {one_turn}, or problems without tools")
    return found.without(find_overlaps(config.run.benchmarks, found.problems)).put(config.model.prompt)


def load_eval_problems(config: Config) -> ProblemSet:
    """Problems to evaluate on: `per_band` of each band of a world; of anything else all, unless it is given."""
    own = config.eval
    found = _read(own.problems, lambda world: world.evaluation(config.run.seed, own.per_band))
    found = found.judged_by("tests", "eval.problems")
    if own.problems not in WORLDS and "per_band" not in own.model_fields_set:
        return found.put(config.model.prompt)
    kept, taken = [], Counter[str]()
    for problem in found.problems:
        taken[band := problem.band] += 1
        if taken[band] <= own.per_band:
            kept.append(problem)
    return replace(found, problems=kept).put(config.model.prompt)


def _read(source: str, of_world: Callable[[World], list[Problem]]) -> ProblemSet:
    """The problems of an embedded world, a benchmark or a file."""
    if world := WORLDS.get(source):
        return ProblemSet(source, of_world(world))
    if named(source) or not (source.endswith(".jsonl") or Path(source).exists()):
        found = load_benchmark(source)
        return ProblemSet(source, found.problems, found.left_out)
    return ProblemSet(source, load(source))


def read_corpus(config: Config, whole: bool = False) -> Corpus:
    """The documents of `corpus.path`; those that overlap `run.benchmarks` are in the quarantine. With `whole`, files as
    they are, neither cut nor filtered."""
    own = config.corpus
    if world := WORLDS.get(own.path):
        corpus = Corpus(world.documents("expert", config.run.seed, own.documents or WORLD_DOCUMENTS), [])
    else:
        unit, filtered = ("file", False) if whole else (own.unit, own.filter)
        path = sysconfig.get_paths()["stdlib"] if own.path == "stdlib" else own.path
        corpus = read(path, own.pattern, own.columns, own.documents, own.max_bad, unit, filtered)
    overlaps = find_overlaps(config.run.benchmarks, corpus.documents)
    left = [document for document in corpus.documents if document.id not in overlaps]
    bad = [BadRow(name, reason, "overlap") for name, reason in overlaps.items()]
    return replace(corpus, documents=left, quarantine=[*corpus.quarantine, *bad])


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
    whole = config.model_copy(update={"run": config.run.model_copy(update={"benchmarks": ()})})
    documents, problems = read_corpus(whole).documents, load_rl_problems(whole).problems
    for noun, items in (("documents", documents), ("problems", problems)):
        found = find_overlaps(benchmarks, items)
        yield from (f"{name}: {overlap}" for name, overlap in found.items())
        yield f"{len(found)} of {len(items)} {noun} overlap {', '.join(benchmarks)}"


def load_policy(run: RunSettings, model: ModelSettings, pinned: str | None = None) -> Policy:
    """Loads the model of `model.path`, or what stands for it at the commit `pinned`, on the run's device, after setting
    the number of CPU threads: 0 is every core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(run.threads or max(1, cores // ranks.local_count()))
    has_gpu, device = torch.cuda.is_available(), run.device
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    if device == "cuda" and ranks.count() > 1:
        device = f"cuda:{torch.cuda.current_device()}"
    if device.startswith("cuda") and not has_gpu:
        raise UserError("no CUDA device is available", where=f"run.device = {device}", fix="use run.device=cpu or auto")
    world = WORLDS.get(model.path)
    folder, name = (world.model, str(world.model)) if world else find_model(pinned or model.path)
    if (folder / "environment.json").exists():
        what, where = "this is a run folder, not a model folder", f"model.path = {folder}"
        raise UserError(what, where, fix=f"use its model: --model {folder / 'model'}")
    place = getattr(torch, run.dtype), torch.device(device), run.seed
    lora = Lora(model.lora, run.seed) if model.lora.rank else None
    policy = replace(Policy.load(folder, model.weights, *place, model.opener), source=name, lora=lora, lanes=run.lanes)
    policy.chats = model.prompt != "plain" and bool(policy.tokenizer.chat_template)
    if model.prompt == "chat" and not policy.chats:
        raise UserError("the tokenizer has no chat template", f"model.prompt = chat, {name}", fix="use plain or auto")
    return ShardedPolicy.of(policy) if run.shard and ranks.count() > 1 else policy


@dataclass(frozen=True)
class TokenizedCorpus:
    """The documents of a run as ids, and what could not be used."""

    train: list[EncodedDocument]
    heldout: list[EncodedDocument]
    corpus: Corpus

    @property
    def documents(self) -> list[EncodedDocument]:
        """All of them."""
        return [*self.train, *self.heldout]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each document with its context."""
        return [len(document.context_ids) + sum(map(len, document.step_ids)) for document in self.documents]

    def record(self, recorder: Recorder) -> None:
        """Says what was read and shows the first document; writes the facts and quarantine.jsonl into the run folder.
        UserError where the run began with other documents."""
        run = recorder.run
        recorder.display.say(f"corpus: {self.corpus.summary()}")
        recorder.display.say(excerpt(self.train[0].document))
        recorder.display.say(self.boundaries())
        if self.corpus.quarantine:
            with run.guard("write quarantine.jsonl"):
                self.corpus.write_quarantine(run.path("quarantine.jsonl"))
        run.add_facts(corpus=self.facts())
        run.pin_inputs(corpus=fingerprint_items((d.id, d.context_ids, d.step_ids) for d in self.documents))

    def boundaries(self) -> str:
        """In how many places a comment may stand, and the share of them where the tokenizer lets the model decide."""
        decided = sum(opening is not None for d in self.documents for opening in d.openings)
        places = decided + sum(d.joined for d in self.documents)
        share = f", the model decides at {decided / places:.1%} of them" if places else ""
        why = "; elsewhere the tokenizer joins the line with the white space in front of it" if decided < places else ""
        return f"a comment may stand before {places:,} steps{share}{why}"

    def facts(self) -> dict[str, Any]:
        """What was read, in numbers."""
        return {
            "documents": len(self.train),
            "heldout": len(self.heldout),
            "steps": sum(len(d.step_ids) for d in self.train),
            "expert_tokens": sum(len(s) for d in self.train for s in d.step_ids),
            "boundaries": sum(opening is not None for d in self.train for opening in d.openings),
            "boundaries_joined": sum(d.joined for d in self.train),
            "quarantined": len(self.corpus.quarantine),
            "read": dict(self.corpus.sources),
            "left_out": dict(self.corpus.left_out),
            **self.corpus.notes,
        }


def excerpt(document: Document) -> str:
    """The first lines of a document as the model reads it, context and all."""
    lines = (document.context + document.text).splitlines()
    more = [f"  ... {len(lines) - SHOWN:,} lines more"] if len(lines) > SHOWN else []
    return "\n".join([f"first document: {document.id}", *(f"  | {line}" for line in lines[:SHOWN]), *more])


def heldout_bounds(corpus_path: str) -> tuple[int, int | None]:
    """The least and the most documents that are held out: what is measured on them takes two passes and rollouts."""
    return (0, None) if corpus_path in WORLDS else (1, MOST_HELDOUT)


def train_and_heldout(config: Config, documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """The documents to train on and those to measure on: some of them, or of `corpus.heldout_path`."""
    own, seed = config.corpus, config.run.seed
    if own.heldout_path is None:
        return split_heldout(documents, own.heldout, seed, *heldout_bounds(own.path))
    other = own.model_copy(update={"path": own.heldout_path, "documents": 0})
    found = read_corpus(config.model_copy(update={"corpus": other}))
    return [*documents], split_heldout(found.documents, own.heldout, seed, least=1)[1]


def first_prompt(policy: Policy, problems: Sequence[Problem]) -> str:
    """The first prompt token by token, as the model reads it: its beginning and its end."""
    ids = [*policy.start_ids, *encode_prompts(policy, problems[:1])[0]]
    tokens = [repr(policy.token_text(token)) for token in ids]
    shown = [*tokens[:SHOWN], "...", *tokens[-SHOWN:]] if len(tokens) > 2 * SHOWN else tokens
    return f"first prompt, {len(ids)} tokens: {' '.join(shown)}"


def load_documents(config: Config, policy: Policy) -> TokenizedCorpus:
    """The corpus of a run, split into training and held-out documents. UserError where too few can be used, or where
    `corpus.max_tokens` is more than the model reads."""
    own, longest = config.corpus, config.corpus.max_tokens
    if policy.positions and longest > policy.positions:
        what, where = f"the model in {policy.source} has {policy.positions} positions", f"corpus.max_tokens = {longest}"
        allowed = f"at most {policy.positions}; comments come on top"
        raise UserError(what, where, allowed, "lower it: longer documents are cut")
    corpus, encoded = read_corpus(config), []
    for part in train_and_heldout(config, corpus.documents):
        good, bad = encode_all(policy.syntax, part, own.steps, longest)
        encoded.append(good)
        corpus.quarantine.extend(bad)
    train, heldout = encoded
    if not train:
        reasons = "; ".join(f"{row.where}: {row.reason}" for row in corpus.quarantine[:3])
        raise UserError(f"no document can be used: {reasons}", where=own.path, fix="see corpus.max_tokens")
    refuse_bad(corpus.quarantine, len(train) + len(heldout), own.path, own.max_bad)
    return TokenizedCorpus(train, heldout, corpus)
