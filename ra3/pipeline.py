"""What each command does, from settings to a finished run folder: build the objects, run the acts, write results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from ra3.annotate import annotate_whole, annotated_record, text_record
from ra3.annotated_folder import AnnotatedFolder
from ra3.config import Config
from ra3.display import Display, show_results, start_box
from ra3.evaluate import evaluate as evaluate_model
from ra3.flags import RunOptions
from ra3.heldout import heldout_rows
from ra3.latents import EncodedDocument, encode_all
from ra3.midtrain import midtrain as em_loop
from ra3.midtrain import trained_once
from ra3.policy import Policy
from ra3.recorder import Recorder
from ra3.report import write_report
from ra3.rlvr import rlvr as rl_loop
from ra3.rows import Rows
from ra3.runs import Run
from ra3.sandbox import Sandbox
from ra3.seeds import derive
from ra3.sources import load_documents, load_eval_problems, load_policy, load_rl_problems, read_corpus


def midtrain(config: Config, options: RunOptions) -> Path:
    """Mid-trains the model on the corpus; returns the run folder."""
    policy = load_policy(config)
    library = load_documents(config, policy)
    with opened(config, options, policy) as recorder:
        train, heldout = library.noted(recorder.run)
        trained = em_loop(recorder, policy, train, config)
        save_model(recorder.run, trained)
        if config.midtrain.method == "ra3":
            write_annotated(recorder, trained, train, config)
        results = heldout_results(recorder, {"base": policy, config.midtrain.method: trained}, heldout, config)
        return finish(recorder, {"rows": results})


def rlvr(config: Config, options: RunOptions) -> Path:
    """RLVR on the model; returns the run folder."""
    policy = load_policy(config)
    problems = load_rl_problems(config, config.run.seed)
    with opened(config, options, policy) as recorder, opened_sandbox(config, recorder) as sandbox:
        trained = trained_once(
            recorder, "rlvr", policy, lambda: rl_loop(recorder, policy.snapshot(), problems, sandbox, config)
        )
        save_model(recorder.run, trained)
        return finish(recorder, {"rows": []})


def evaluate(config: Config, options: RunOptions) -> Path:
    """Evaluates the model on the problems; returns the run folder."""
    policy = load_policy(config)
    problems = load_eval_problems(config, config.run.seed)
    with opened(config, options, policy) as recorder, opened_sandbox(config, recorder) as sandbox:
        name = Path(config.model.path).name
        return finish(recorder, evaluated(recorder, name, policy, problems, sandbox, config))


def annotate(config: Config, options: RunOptions) -> Path:
    """Writes the model's latents into the corpus; returns the folder of annotated text.

    Whole documents, whatever their length: the model reads them in windows of `corpus.max_tokens`.
    """
    policy = load_policy(config)
    corpus, kind, size = read_corpus(config), config.corpus.steps, config.corpus.max_tokens
    folder = AnnotatedFolder.create(options.out or Path("annotated"), check=options.check)
    for start in range(0, len(corpus.documents), 64):
        found, bad = encode_all(
            policy.tokenizer, corpus.documents[start : start + 64], policy.syntax, kind, sys.maxsize
        )
        corpus.quarantine.extend(bad)
        comments = annotate_whole(policy, found, config.midtrain, config.update, size, config.run.seed)
        for document, own in zip(found, comments, strict=True):
            folder.write(text_record(document, own, kind), document.document.text)
    print(folder.finish(corpus))
    return folder.path


@contextmanager
def opened(config: Config, options: RunOptions, policy: Policy) -> Iterator[Recorder]:
    """The run folder of a command, with its recorder; the start box is shown."""
    with ExitStack() as stack:
        run = stack.enter_context(
            Run.create(config.run.out, config.run.name, config.model_dump(mode="json"), options.command, options.resume)
        )
        run.note(device=str(policy.device), parameters=policy.num_parameters, threads=torch.get_num_threads())
        start_box(run, policy.source, config.run.seed, str(policy.device), " ".join(options.recipes) or "defaults")
        display = Display(run)
        yield stack.enter_context(Recorder(run, display, config.run.checkpoint_every_s, config.run.log_rollouts_every))


@contextmanager
def opened_sandbox(config: Config, recorder: Recorder) -> Iterator[Sandbox]:
    """The sandbox of a command; its isolation level is noted in the run folder."""
    limits = config.sandbox
    with Sandbox(limits.workers, limits.cpu_s, limits.wall_s, limits.memory_mb) as sandbox:
        recorder.run.note(sandbox=sandbox.level)
        yield sandbox


def evaluated(
    recorder: Recorder, name: str, policy: Policy, problems: Sequence[Any], sandbox: Sandbox, config: Config
) -> dict[str, Any]:
    """Pass rates and curves of one model, computed once."""

    seed = derive(config.run.seed, "evaluate")
    return recorder.once(f"eval-{name}", lambda: evaluate_model(name, policy, problems, sandbox, config.eval, seed))


def heldout_results(
    recorder: Recorder, policies: dict[str, Policy], heldout: Sequence[EncodedDocument], config: Config
) -> list[dict[str, Any]]:
    """Held-out measures of each policy; none where no document is held out."""

    def compute(name: str, policy: Policy) -> dict[str, Any]:
        length = config.midtrain.estep.max_latent_tokens
        seed = derive(config.run.seed, "heldout")
        return {"rows": heldout_rows(name, policy, heldout, length, config.eval, config.update, seed)}

    if not heldout:
        recorder.display.say("no document is held out: nothing to measure on")
        return []
    found = [
        recorder.once(f"heldout-{name}", lambda n=name, p=policy: compute(n, p)) for name, policy in policies.items()
    ]
    return [row for part in found for row in part["rows"]]


def write_annotated(recorder: Recorder, policy: Policy, documents: Sequence[EncodedDocument], config: Config) -> None:
    """annotated.jsonl: the documents with the latents that the last M-step was trained on."""
    rows = Rows(**recorder.once(f"annotate-{config.midtrain.em_rounds - 1}", dict))
    records = (annotated_record(policy, d, rows, r, config.corpus.steps) for r, d in enumerate(documents))
    with recorder.run.guard("write annotated.jsonl"), recorder.run.path("annotated.jsonl").open("w") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=True) + "\n")


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
    show_results(results["rows"], write_report(recorder.run.folder))
    return recorder.run.folder
