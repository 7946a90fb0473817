"""What each command does, from settings to a finished run folder: build the objects, run the acts, write results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from ra3 import evaluate as evaluation
from ra3 import ranks
from ra3.benchmarks.samples import read_samples
from ra3.commands.annotated_folder import AnnotatedFolder, placeable
from ra3.commands.failures import explain_failures
from ra3.commands.inputs import (
    first_prompt,
    load_documents,
    load_eval_problems,
    load_policy,
    load_rl_problems,
    read_corpus,
)  # fmt: skip
from ra3.commands.memory import memory_plan, refuse_too_large
from ra3.config.settings import Config
from ra3.data.documents import BadRow
from ra3.data.latents import COMMENT_OPENER, EncodedDocument, encode
from ra3.em.annotate import DOCUMENTS_AT_ONCE, annotate_whole, comment_texts, text_record
from ra3.em.round import document_parts, trained_once
from ra3.errors import UserError
from ra3.measure.heldout import measure_heldout
from ra3.measure.latent_index import LatentIndex
from ra3.midtrain import midtrain as em_loop
from ra3.model.policy import Policy
from ra3.report import write_report
from ra3.rl.reference import longest_reference
from ra3.rlvr import rlvr as rl_loop
from ra3.rollout.programs import beyond_positions, completion_of_text
from ra3.rollout.vllm import VllmServer
from ra3.rows import Rows
from ra3.run.checkpoints import write_checksums
from ra3.run.display import Display, show_problems, show_results, start_lines
from ra3.run.files import fingerprint_items, fingerprint_weights
from ra3.run.folder import Run, environment_of, resume_line, run_folder
from ra3.run.ledger import cost_table, read_ledger
from ra3.run.recorder import Recorder
from ra3.run.results import LatentEntry, Results
from ra3.run.stopping import StopRequest, deadline
from ra3.sandbox import Sandbox
from ra3.seeds import derive


@dataclass(frozen=True)
class RunOptions:
    """A command and the flags that are no settings: RunOptions("midtrain", ("tiny-cpu",), resume=True)."""

    command: str
    recipes: tuple[str, ...] = ()
    """As they were named; empty where the defaults and flags say it all."""
    resume: bool = False
    fork: Path | None = None
    profile: bool = False
    out: Path = Path("annotated")
    check: bool = False
    system: str = ""
    """The name of the model in the results of a part of `ra3 demo`, which shows those of all parts together."""


def midtrain(config: Config, options: RunOptions) -> Path:
    """Mid-trains the model on the corpus; returns the run folder."""
    policy = load_policy(config.run, config.model, pinned_model(config, options))
    corpus = load_documents(config, policy)
    with open_run(config, options, policy, corpus.lengths) as recorder:
        corpus.record(recorder)
        trained = em_loop(recorder, policy, corpus.train, config.midtrain, config.update, config.run.seed)
        save_model(recorder.run, trained)
        latents = write_annotated(recorder, trained, corpus.train, config)
        measured = heldout_results(recorder, {"base": policy, config.midtrain.method: trained}, corpus.heldout, config)
        return finish(recorder, Results.merge([measured, Results(latents=latents)]), options)


def rlvr(config: Config, options: RunOptions) -> Path:
    """Trains the model by RLVR; returns the run folder."""
    settings, policy = config.rlvr, load_policy(config.run, config.model, pinned_model(config, options))
    found, tests = load_rl_problems(config), settings.reward == "tests"
    behind = 0 if tests else longest_reference(policy, found.problems)
    found = found.without(beyond_positions(policy, found.problems, settings.max_new_tokens + behind))
    with (
        open_run(config, options, policy) as recorder, open_sandbox(config, recorder) as sandbox,
        open_writer(config, recorder) as policy.writer,
    ):  # fmt: skip
        recorder.run.pin_inputs(problems=fingerprint_items(found.problems))
        if tests:
            proved = found.proved(recorder, sandbox)
            found = proved.without(recorder.once("unearned", lambda: proved.vacuous(sandbox)))
        problems = found.record(recorder)
        recorder.display.say(first_prompt(policy, problems))
        place = settings, config.update, config.run.seed
        train = lambda start: rl_loop(recorder, start, problems, sandbox, *place)  # noqa: E731
        save_model(recorder.run, trained_once(recorder, "rlvr", policy, train))
        return finish(recorder, Results(), options)


def evaluate(config: Config, options: RunOptions) -> Path:
    """Evaluates the model, or the samples of a file, on the problems; returns the run folder."""
    settings, seed = config.eval, config.run.seed
    if settings.samples_file:
        return evaluate_file(settings.samples_file, config, options)
    policy, found = load_policy(config.run, config.model, pinned_model(config, options)), load_eval_problems(config)
    refuse_long(beyond_positions(policy, found.problems, settings.max_new_tokens), settings.problems)
    with (
        open_run(config, options, policy) as recorder, open_sandbox(config, recorder) as sandbox,
        open_writer(config, recorder) as policy.writer,
    ):  # fmt: skip
        found, name = found.proved(recorder, sandbox), options.system or Path(config.model.path).name
        problems = found.record(recorder)
        recorder.run.pin_inputs(exam=fingerprint_items(problems))
        recorder.display.say(first_prompt(policy, problems))
        results = evaluation.evaluate(recorder, name, policy, problems, sandbox, settings, seed)
        return finish(recorder, replace(results, left_out=found.left_out), options)


def evaluate_file(path: str, config: Config, options: RunOptions) -> Path:
    """Grades the samples of a file, whoever wrote them; returns the run folder."""
    found = load_eval_problems(config)
    samples = read_samples(path, found.problems, found.left_out)
    found = found.in_part({sample.problem.id for sample in samples})
    opener, name = config.model.opener or COMMENT_OPENER, Path(path).name.split(".")[0]
    with open_run(config, options, None) as recorder, open_sandbox(config, recorder) as sandbox:
        found = found.proved(recorder, sandbox)
        meta = {problem.id: problem.meta for problem in found.record(recorder)}
        recorder.run.pin_inputs(exam=fingerprint_items(found.problems), samples=fingerprint_items(samples))
        asked = {id(problem): problem for problem, _ in samples if problem.id in meta}  # one for all samples of a task
        proved = {key: replace(problem, meta=meta[problem.id]) for key, problem in asked.items()}
        answers = ((proved.get(id(problem)), text) for problem, text in samples)
        attempts = [(problem, completion_of_text(text, opener)) for problem, text in answers if problem]
        results = evaluation.evaluate_samples(recorder, name, attempts, sandbox, config.eval, config.run.seed)
        return finish(recorder, replace(results, left_out=found.left_out), options)


def refuse_long(too_long: Mapping[str, str], where: str) -> None:
    """UserError where problems are longer than the model reads: a score without them is none of the benchmark's."""
    if too_long:
        first = "; ".join(f"{name}: {why}" for name, why in list(too_long.items())[:3])
        what = f"{len(too_long)} of its problems are longer than the model reads ({first})"
        raise UserError(what, where, fix="lower eval.max_new_tokens, or take those problems out of a copy of the file")


def annotate(config: Config, options: RunOptions) -> Path:
    """Writes the model's latents into the corpus; returns the folder of annotated text.

    Whole documents, whatever their length: the model reads them in windows of `corpus.max_tokens`. With --resume only
    what an earlier attempt has not written is done.
    """
    policy = load_policy(config.run, config.model)
    corpus, kind, size = read_corpus(config, whole=True), config.corpus.steps, config.corpus.max_tokens
    inputs = {"model": fingerprint_weights(policy.model), "corpus": fingerprint_items(corpus.documents)}
    settings = config.model_dump(mode="json") | {"inputs": inputs}
    limit_s, again, compiled = config.run.stuck_after_s, resume_line("annotate", options.out), 0
    limited = deadline(limit_s, None, again)
    with ExitStack() as stack:
        out = Path(stack.enter_context(TemporaryDirectory())) if ranks.rank() else options.out
        folder = stack.enter_context(AnnotatedFolder.open(out, settings, options.resume))
        stop, moved = stack.enter_context(StopRequest()), stack.enter_context(limited)
        documents, bad = placeable(corpus.documents)
        corpus.quarantine.extend(bad)
        for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
            moved(f"annotating documents from {start + 1} of {len(documents)}")
            part = documents[start : start + DOCUMENTS_AT_ONCE]
            tried = [(document, encode(policy.syntax, document, kind, size)) for document in part]
            corpus.quarantine.extend(bad for _, bad in tried if isinstance(bad, BadRow))
            found = [(document, windows) for document, windows in tried if not isinstance(windows, BadRow)]
            missing = {document.id for document, _ in found} - ranks.from_first(lambda: set(folder.written))
            if missing:  # all are sampled together, so that each comes out as it would have without the interruption
                windows = [own for _, own in found]
                comments = annotate_whole(policy, windows, config.midtrain, config.update, config.run.seed)
                for (document, _), own in zip(found, comments, strict=True):
                    if document.id in missing:
                        folder.write(text_record(document, own), document.text)
            if options.check:
                compiled += sum(folder.compiles(document) for document, _ in found)
            stop.raise_if_asked()
        if not ranks.rank():
            print(folder.finish(corpus, compiled if options.check else None))
    return options.out


def pinned_model(config: Config, options: RunOptions) -> str | None:
    """The model at the commit of the hub that an earlier attempt of this run, or the run it forks, began with."""
    own = config.run
    folder = options.fork or run_folder(own.out, own.name, config.model_dump(mode="json"), options.command)
    began = str(ranks.from_first(lambda: environment_of(folder).get("model")))
    asked, _, commit = began.partition("@")
    return began if commit and asked == config.model.path.partition("@")[0] else None


@contextmanager
def open_run(
    config: Config, options: RunOptions, policy: Policy | None, lengths: Sequence[int] = ()
) -> Iterator[Recorder]:
    """Opens the run folder of a command, with its recorder; shows the start box and the memory plan. Samples of a file
    need no policy. UserError where rows of so many tokens, or of as many as the settings allow, cannot fit."""
    if plan := memory_plan(policy, config, options.command, lengths) if policy else None:
        refuse_too_large(plan, config)
    own, tree = config.run, config.model_dump(mode="json")
    with ExitStack() as stack:
        run = stack.enter_context(open_folder(config, options, tree))
        stack.enter_context(explain_failures(run.folder, run.resume_line))
        subject, device = (policy.source, str(policy.device)) if policy else (str(config.eval.samples_file), "none")
        if policy:
            run.pin_inputs(model=fingerprint_weights(policy.model))
            threads, opener, size = torch.get_num_threads(), policy.syntax.opener, policy.num_parameters
            run.add_facts(model=subject, device=device, parameters=size, threads=threads, opener=opener)
        run.note_changes()
        silent = stack.enter_context(run.path("shown.log").open("w")) if ranks.rank() else None
        console = Console(file=silent)
        start_lines(run, subject, own.seed, device, " ".join(options.recipes) or "defaults", console)
        display = Display(run, console, dtype=own.dtype)
        for note in run.notes:
            display.warn(note)
        for note in policy.notes if policy else ():
            display.say(f"model: {note}")
        if plan:
            display.say(f"memory: {plan.text()}")
        recorder = Recorder(run, display, own.checkpoint_every_s, own.stuck_after_s)
        if options.profile:
            stack.callback(lambda: print(cost_table(read_ledger(run.folder)).aligned()))
        yield stack.enter_context(recorder)


def open_folder(config: Config, options: RunOptions, tree: dict) -> Run:
    """The run folder; on a rank other than the first a folder of its own among the logs, which nothing reads."""
    own, command = config.run, options.command
    if not ranks.rank():
        run = Run.create(own.out, own.name, tree, command, options.resume, options.fork)
        run.add_facts(ranks=ranks.count())
        ranks.from_first(lambda: run.attempt)
        return run
    logs = run_folder(own.out, own.name, tree, command) / "logs"
    return Run.create(logs, f"attempt_{ranks.from_first(int)}.rank_{ranks.rank()}", tree, command)


@contextmanager
def open_sandbox(config: Config, recorder: Recorder) -> Iterator[Sandbox]:
    """Opens the sandbox of a command; its isolation level is noted in the run folder."""
    own, seed = config.sandbox, derive(config.run.seed, "judges")
    with Sandbox(own.workers, own.cpu_s, memory_mb=own.memory_mb, seed=seed) as sandbox:
        recorder.run.add_facts(sandbox=sandbox.level)
        yield sandbox


@contextmanager
def open_writer(config: Config, recorder: Recorder) -> Iterator[VllmServer | None]:
    """Opens what writes programs in the place of our own decoding, if the settings say so."""
    if config.run.rollouts == "native":
        yield None
        return
    log = recorder.run.path("logs", f"attempt_{recorder.run.attempt}.vllm.log")
    how = config.update.micro_batch_tokens, log, recorder.display.say, config.run.rollouts == "vllm-ahead"
    with VllmServer(*how) as server:
        yield server


def heldout_results(
    recorder: Recorder, policies: dict[str, Policy], heldout: Sequence[EncodedDocument], config: Config
) -> Results:
    """Held-out measures of each policy; none where no document is held out."""
    if not heldout:
        recorder.display.say("no document is held out: nothing to measure on")
        return Results()
    length, seed = config.midtrain.estep.max_latent_tokens, derive(config.run.seed, "heldout")

    def measure(name: str) -> dict:
        own = policies[name], heldout, length, config.update, seed, recorder.ledger
        return measure_heldout(name, *own).to_json()

    found = [recorder.once(f"heldout-{name}", partial(measure, name)) for name in policies]
    return Results.merge([Results.from_json(saved)[0] for saved in found])


def write_annotated(
    recorder: Recorder, policy: Policy, documents: Sequence[EncodedDocument], config: Config
) -> list[LatentEntry]:
    """Writes annotated.jsonl, the documents with the latents that were sampled for the last M-step, if any were;
    returns the index of what these latents are about."""
    index = LatentIndex()
    parts = recorder.finished_parts(f"annotate-{config.midtrain.em_rounds - 1}")
    if not parts or ranks.rank():
        return []
    with recorder.run.guard("write annotated.jsonl"), recorder.run.path("annotated.jsonl").open("w") as file:
        for part, own in zip(parts, document_parts(documents), strict=True):
            rows = Rows(**part)
            for r, document in enumerate(own):
                comments = comment_texts(policy, rows, r, len(document.step_ids))
                record = text_record(document.document, document.placed(comments)) | {"ids": rows.tokens(r)}
                file.write(json.dumps(record, ensure_ascii=True) + "\n")
                index.add(document, comments)
    return index.entries()


def save_model(run: Run, policy: Policy) -> None:
    """Saves the final model as a standard Hugging Face folder."""
    with run.guard("save the model"):
        policy.save(run.path("model"))


def finish(recorder: Recorder, results: Results, options: RunOptions) -> Path:
    """Writes results.json and the report, and shows the tables; returns the run folder. Of a part of the demo neither
    report nor tables."""
    run = recorder.run
    run.write_json("results.json", results.to_json())
    recorder.display.close()
    if ranks.rank():
        return run.folder
    if not options.system:
        if results.problems:
            show_problems(results.problems)
        show_results(results.scores, write_report(run.folder))
    recorder.display.remind()
    with run.guard("write files.json"):
        write_checksums(run.folder)
    return run.folder


COMMANDS = {"midtrain": midtrain, "rlvr": rlvr, "eval": evaluate, "annotate": annotate}
