"""What each command does, from settings to a finished run folder: build the objects, run the acts, write results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from ra3.commands.annotated_folder import AnnotatedFolder, placeable
from ra3.commands.failures import told
from ra3.commands.inputs import earned, load_rl_problems, read_corpus
from ra3.commands.memory import memory_plan, refuse_too_large
from ra3.commands.sources import load_documents, load_policy
from ra3.config.flags import RunOptions
from ra3.config.tree import Config
from ra3.data.latents import EncodedDocument, encode_all
from ra3.em.annotate import DOCUMENTS_AT_ONCE, annotate_whole, comment_texts, text_record
from ra3.em.round import document_parts, trained_once
from ra3.measure.heldout import measure_heldout
from ra3.measure.latent_index import Dictionary
from ra3.midtrain import midtrain as em_loop
from ra3.model.policy import Policy
from ra3.report import write_report
from ra3.rlvr import rlvr as rl_loop
from ra3.rollout.completions import beyond_positions
from ra3.rows import Rows
from ra3.run.checkpoints import write_checksums
from ra3.run.display import Display, show_results, start_box
from ra3.run.fingerprints import of_items, of_weights
from ra3.run.folder import Run, resume_line
from ra3.run.interrupts import StopRequest
from ra3.run.ledger import cost_table, read_ledger
from ra3.run.recorder import Recorder
from ra3.run.results import Results
from ra3.run.watchdog import Watchdog
from ra3.sandbox import Sandbox
from ra3.sandbox.link import read_secret
from ra3.sandbox.remote import RemoteSandbox
from ra3.seeds import derive


def midtrain(config: Config, options: RunOptions) -> Path:
    """Mid-trains the model on the corpus; returns the run folder."""
    policy = load_policy(config)
    library = load_documents(config, policy)
    with opened(config, options, policy, library.longest) as recorder:
        train, heldout = library.noted(recorder.run)
        trained = em_loop(recorder, policy, train, config)
        save_model(recorder.run, trained)
        found = {"abstractions": write_annotated(recorder, trained, train, config)}
        return finish(
            recorder,
            found | heldout_results(recorder, {"base": policy, config.midtrain.method: trained}, heldout, config),
        )


def rlvr(config: Config, options: RunOptions) -> Path:
    """RLVR on the model; returns the run folder."""
    policy = load_policy(config)
    found = load_rl_problems(config, config.run.seed)
    too_long = beyond_positions(policy, found.problems, config.rlvr.max_new_tokens)
    found = found.without(too_long, config.rlvr.problems)
    with opened(config, options, policy) as recorder, opened_sandbox(config, recorder) as sandbox:
        recorder.run.pin_inputs(problems=of_items(found.problems))
        found = found.without(recorder.once("unearned", lambda: earned(found, sandbox, config)), config.rlvr.problems)
        problems = found.noted(recorder)
        trained = trained_once(
            recorder, "rlvr", policy, lambda: rl_loop(recorder, policy.snapshot(), problems, sandbox, config)
        )
        save_model(recorder.run, trained)
        return finish(recorder, {"rows": []})


def annotate(config: Config, options: RunOptions) -> Path:
    """Writes the model's latents into the corpus; returns the folder of annotated text.

    Whole documents, whatever their length: the model reads them in windows of `corpus.max_tokens`. With --resume only
    what an earlier attempt has not written is done.
    """
    policy = load_policy(config)
    corpus, kind, size = read_corpus(config), config.corpus.steps, config.corpus.max_tokens
    inputs = {"model": of_weights(policy.model), "corpus": of_items(corpus.documents)}
    settings = config.model_dump(mode="json") | {"inputs": inputs}
    folder = AnnotatedFolder.create(options.out or Path("annotated"), options.check, settings, options.resume)
    deadline = Watchdog(config.run.stuck_after_s, None, resume_line("annotate", folder.path))
    with closing(folder), StopRequest() as stop, deadline:
        documents, bad = placeable(corpus.documents)
        corpus.quarantine.extend(bad)
        for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
            deadline.moved(f"annotating documents from {start + 1} of {len(documents)}")
            part = documents[start : start + DOCUMENTS_AT_ONCE]
            found, bad = encode_all(policy.tokenizer, part, policy.syntax, kind, sys.maxsize)
            corpus.quarantine.extend(bad)
            missing = {d.document.id for d in found if not folder.holds(d.document)}
            if missing:  # all are sampled together, so that each comes out as it would have without the interruption
                comments = annotate_whole(policy, found, config.midtrain, config.update, size, config.run.seed)
                for document, own in zip(found, comments, strict=True):
                    if document.document.id in missing:
                        folder.write(text_record(document, own, kind), document.document.text)
            stop.raise_if_asked()
        print(folder.finish(corpus))
    return folder.path


@contextmanager
def opened(
    config: Config, options: RunOptions, policy: Policy | None, longest: int | None = None
) -> Iterator[Recorder]:
    """The run folder of a command, with its recorder; the start box and the memory plan are shown. Samples of a file
    need no policy. UserError where rows of `longest` tokens, or of as many as the settings allow, cannot fit."""
    plan = memory_plan(policy, config, options.command, longest) if policy else None
    if plan:
        refuse_too_large(plan, config)
    with ExitStack() as stack:
        run = stack.enter_context(
            Run.create(
                config.run.out, config.run.name, config.model_dump(mode="json"), options.command,
                options.resume, options.fork,
            )
        )  # fmt: skip
        stack.enter_context(told(run))
        subject, device = (policy.source, str(policy.device)) if policy else (str(config.eval.samples_file), "none")
        if policy:
            run.pin_inputs(model=of_weights(policy.model))
            run.add_facts(device=device, parameters=policy.num_parameters, threads=torch.get_num_threads())
            run.add_facts(opener=policy.syntax.opener)
        start_box(run, subject, config.run.seed, device, " ".join(options.recipes) or "defaults")
        display = Display(run)
        if plan:
            display.say(f"memory: {plan.text()}")
        own = config.run
        recorder = Recorder(
            run, display, own.checkpoint_every_s, own.log_rollouts_every, own.checkpoint_every_steps,
            own.stuck_after_s,
        )  # fmt: skip
        if options.profile:
            stack.callback(lambda: print(cost_table(read_ledger(run.folder)).aligned()))
        yield stack.enter_context(recorder)


@contextmanager
def opened_sandbox(config: Config, recorder: Recorder) -> Iterator[Sandbox]:
    """The sandbox of a command, here or on its servers; its isolation level is noted in the run folder."""
    chosen = config.sandbox
    limits = (chosen.cpu_s, chosen.wall_s, chosen.memory_mb)
    if chosen.servers and chosen.key_file:
        opened = RemoteSandbox(chosen.servers, read_secret(chosen.key_file), *limits)
    else:
        opened = Sandbox(chosen.workers, *limits)
    with opened as sandbox:
        recorder.run.add_facts(sandbox=sandbox.level)
        yield sandbox


def heldout_results(
    recorder: Recorder, policies: dict[str, Policy], heldout: Sequence[EncodedDocument], config: Config
) -> dict[str, Any]:
    """Held-out measures of each policy; none where no document is held out."""

    def compute(name: str, policy: Policy) -> dict[str, Any]:
        length = config.midtrain.estep.max_latent_tokens
        seed = derive(config.run.seed, "heldout")
        return measure_heldout(name, policy, heldout, length, config.eval, config.update, seed)

    if not heldout:
        recorder.display.say("no document is held out: nothing to measure on")
        return merged([])
    return merged(
        [recorder.once(f"heldout-{name}", lambda n=name, p=policy: compute(n, p)) for name, policy in policies.items()]
    )


def write_annotated(
    recorder: Recorder, policy: Policy, documents: Sequence[EncodedDocument], config: Config
) -> list[dict[str, Any]]:
    """annotated.jsonl: the documents with the latents that were sampled for the last M-step, if any were; returns the
    dictionary of what these latents are about."""
    dictionary = Dictionary(config.corpus.steps)
    if not (parts := recorder.finished_parts(f"annotate-{config.midtrain.em_rounds - 1}")):
        return []
    with recorder.run.guard("write annotated.jsonl"), recorder.run.path("annotated.jsonl").open("w") as file:
        for part, own in zip(parts, document_parts(documents), strict=True):
            rows = Rows(**part)
            for r, document in enumerate(own):
                comments = comment_texts(policy, rows, r, len(document.step_ids))
                record = text_record(document, comments, config.corpus.steps) | {"ids": rows.tokens(r)}
                file.write(json.dumps(record, ensure_ascii=True) + "\n")
                dictionary.add(document.document, comments)
    return dictionary.records()


def save_model(run: Run, policy: Policy) -> None:
    """The final model as a standard Hugging Face folder."""
    with run.guard("save the model"):
        policy.save(run.path("model"))


def merged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several results as one: rows, counts and curves one after the other."""
    names = dict.fromkeys(name for part in results for name in part.get("curves", {}))
    return {
        "rows": [row for part in results for row in part["rows"]],
        "problems": [row for part in results for row in part.get("problems", [])],
        "curves": {name: [x for part in results for x in part.get("curves", {}).get(name, [])] for name in names},
    }


def finish(recorder: Recorder, results: dict[str, Any]) -> Path:
    """Writes results.json and the report, and shows the table."""
    recorder.run.write_json("results.json", results)
    recorder.display.close()
    show_results(Results.from_json(results)[0].scores, write_report(recorder.run.folder))
    with recorder.run.guard("write files.json"):
        write_checksums(recorder.run.folder)
    return recorder.run.folder
