"""`ra3 publish`: a finished run as what others can use, its model and its annotated corpus, each with a card.

The data set has a row for each document that was trained on: the text with its latents, where they stand, what the
trained model makes of the expert's text with and without them, and where the text is from, as far as the corpus says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ra3.commands.inputs import load_documents, load_policy
from ra3.config.help import show
from ra3.config.load import path_of
from ra3.config.settings import Config, ModelSettings, nest
from ra3.data.corpus import TABLES
from ra3.data.latents import EncodedDocument
from ra3.data.tables import format_of, load_rows
from ra3.em.round import document_parts
from ra3.errors import UserError
from ra3.model.action_spaces import step_logp
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rollout.interleave import expert_rows
from ra3.rows import Rows
from ra3.run.checkpoints import read_manifest
from ra3.run.files import fingerprint_items, read_lines, read_object, write_atomic
from ra3.run.inspect import InspectedRun, finished_run

HUB = "hub:"
SOURCES, LICENCES = ("package", "repo_name", "repository", "url"), ("licence", "license")
"""Columns of a table that say where a text is from and under which licence; the first of each that a row has."""
OF_THE_PLACE = ("run.out", "run.name", "run.threads")
"""Settings that say nothing about what was made."""
PUBLISHED = ("midtrain", "rlvr")
"""Commands whose runs hold a model."""


def publish(folder: Path, to: str) -> list[Path]:
    """Writes `to`/model and, of mid-training with latents, `to`/dataset; returns the folders that were written.

    UserError if the run is not finished or holds no model, if `to` is not empty, or if the corpus is no longer what the
    run was trained on.
    """
    if to.startswith(HUB):
        upload = f"hf upload {to.removeprefix(HUB)} FOLDER/model"
        fix = f"name a folder; then `{upload}`, and `{upload[:-5]}dataset --repo-type dataset` for the data set"
        raise UserError("a run is published into a folder, not to a hub", where=f"--to {to}", fix=fix)
    run, target = finished_run(folder), path_of(to)
    command = run.environment.get("command")
    if command not in PUBLISHED or not run.has_model:
        raise UserError("this run holds no trained model", str(folder), f"a run of {' or '.join(PUBLISHED)}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError("the folder is not empty", where=to, fix="name a new one with --to")
    config = Config.model_validate(nest(run.settings))
    rows = list(dataset_rows(folder, config)) if command == "midtrain" else []
    shutil.copytree(folder / "model", target / "model")
    write_atomic(target / "model" / "README.md", model_card(run, config).encode())
    if not rows:
        return [target / "model"]
    (target / "dataset").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomic(target / "dataset" / "train.jsonl", lines.encode())
    write_atomic(target / "dataset" / "README.md", dataset_card(run, config, rows).encode())
    return [target / "model", target / "dataset"]


def dataset_rows(folder: Path, config: Config) -> Iterator[dict[str, Any]]:
    """A row for every document of a run that wrote latents; none where it wrote none."""
    written, shards = folder / "annotated.jsonl", annotated_shards(folder, config.midtrain.em_rounds - 1)
    if not (written.is_file() and shards):
        return
    policy = load_policy(config.run, ModelSettings(path=str(folder / "model")))
    documents = load_documents(config, policy)
    own = fingerprint_items((d.id, d.context_ids, d.step_ids) for d in documents.documents)
    if own != read_object(folder / "inputs.json").get("corpus"):
        what, fix = "the corpus is not what this run was trained on", "restore it, and run this where the run was begun"
        raise UserError(what, where=f"corpus.path = {config.corpus.path}", fix=fix)
    origins, budget = known_origins(config), config.update.micro_batch_tokens
    scores = likelihoods(policy, documents.train, shards, budget)
    for line, document, (given, without, tokens) in zip(read_lines(written), documents.train, scores, strict=True):
        name = document.document.origin or document.id
        about = origins.get(name, {"source": f"{config.corpus.path}: {name}", "licence": None})
        text = {key: line[key] for key in ("id", "context", "text", "latents")}
        yield text | {"logp_given_latents": given, "logp": without, "expert_tokens": tokens} | about


def annotated_shards(folder: Path, em_round: int) -> list[dict[str, Any]]:
    """The rows that an EM round annotated, as the run saved them."""
    entries, _ = read_manifest(folder / "checkpoints")
    own = [entry for entry in entries if entry.stage.startswith(f"annotate-{em_round}.")]
    saved = [torch.load(folder / "checkpoints" / entry.file, map_location="cpu", weights_only=True) for entry in own]
    return [part for shard in saved for part in shard["parts"]]


def likelihoods(
    policy: Policy, documents: Sequence[EncodedDocument], shards: Sequence[Mapping[str, Any]], budget: int
) -> Iterator[tuple[float, float, int]]:
    """(log p of a document's expert tokens given its latents, the same without any, how many they are), in nats."""
    for shard, own in zip(shards, document_parts(documents), strict=True):
        rows, plain = Rows(**shard).select(torch.arange(len(own))), expert_rows(policy, own)
        found = score(policy, rows, rows.expert, budget)
        given = step_logp(found.logp, found.logp_action, rows).sum(1).tolist()
        without = score(policy, plain, plain.expert, budget).logp.sum(1).tolist()
        yield from zip(given, without, plain.expert.sum(1).tolist(), strict=True)


def known_origins(config: Config) -> dict[str, dict[str, str | None]]:
    """Where each row of a table is from and its licence, by its id; nothing is known of files."""
    path, (_, _, column) = Path(config.corpus.path), config.corpus.columns
    if not path.is_file() or format_of(path) not in TABLES:
        return {}
    found = {}
    for row in load_rows(path):
        first = [next((row.values[key] for key in keys if row.values.get(key)), None) for keys in (SOURCES, LICENCES)]
        source, licence = (None if value is None else str(value) for value in first)
        found[str(row.values.get(column))] = {"source": source or path.name, "licence": licence}
    return found


def dataset_card(run: InspectedRun, config: Config, rows: Sequence[Mapping[str, Any]]) -> str:
    """The README of the data set: what its columns are, how it was made, what is known of licences."""
    latents, tokens = sum(len(row["latents"]) for row in rows), sum(row["expert_tokens"] for row in rows)
    gain = sum(row["logp_given_latents"] - row["logp"] for row in rows) / tokens
    licences: dict[str, int] = {}
    for row in rows:
        licences[row["licence"] or "not known"] = licences.get(row["licence"] or "not known", 0) + 1
    listed = "\n".join(f"| {name} | {count:,} |" for name, count in sorted(licences.items()))
    return f"""---
configs:
- config_name: default
  data_files: train.jsonl
tags: [ra3, code]
---
# Code with its intentions written in

{len(rows):,} documents, {tokens:,} expert tokens, {latents:,} intentions, written as comments by a model (RA3, arXiv
2509.25810). {made_by(run, config)}

| Column | Meaning |
|---|---|
| `id`, `context` | name of the document; what stands before it, read and never annotated |
| `text` | expert text with its intentions; without the spans of `latents` it is the expert's, to the byte |
| `latents` | [first, end) of each intention, in characters of `text` |
| `logp_given_latents`, `logp` | nats of the expert's tokens under the trained model, with intentions and without |
| `expert_tokens` | how many tokens that is |
| `source`, `licence` | where the text is from, and its licence (null: not known) |

With its intentions a token of the text gains {gain:+.4f} nats under the model that wrote them, on text that it was
trained on: this is no measure of what intentions are worth on other text.

Texts keep the licences of their sources, whose notices must go with them:

| Licence | Documents |
|---|---|
{listed}
"""


def model_card(run: InspectedRun, config: Config) -> str:
    """The README of the model: what it is, how it was made, its numbers with their intervals, its limits."""
    named = ((f"{own.model} | {own.band} | {own.metric}", own) for own in run.results.scores)
    scores = [f"| {name} | {s.mean:.4g} [{s.low:.4g}, {s.high:.4g}] | {s.problems:,} |" for name, s in named]
    table = "\n".join(["| Model | Set | Measure | Value, 95% interval | Of |", "|---|---|---|---|---|", *scores])
    changed = {key: value for key, value in config.flat().items() if value != Config().flat()[key]}
    listed = "\n".join(f"    {key} = {show(value)}" for key, value in changed.items() if key not in OF_THE_PLACE)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [ra3, code]
---
# {Path(config.model.path).name} after `ra3 {run.environment["command"]}`

{made_by(run, config)} Settings that are not the defaults:

{listed or "    none"}

## Numbers

{table if scores else "This run measured nothing: `ra3 eval` does."}

## Limits

- One run with one seed ({config.run.seed}): intervals are over documents or problems, not over seeds.
- It may do worse than its base in what the text here does not show; only what stands above was measured.
- The licence of the base model and those of the text hold.
- Its programs are not safe to run outside of a sandbox.
"""


def made_by(run: InspectedRun, config: Config) -> str:
    """A sentence or two on what a run did."""
    source = str(run.environment.get("model"))  # of a model of the hub with its commit; else a place on this machine
    base = f"Base: `{source if '@' in source else Path(config.model.path).name}`"
    if run.environment["command"] == "rlvr":
        return f"{base}, trained by reinforcement on the tests of `{config.rlvr.problems}`, by {run.facts.made_by}."
    own, counts = config.midtrain, run.facts.corpus
    size = f"{counts.documents:,} documents, {counts.heldout:,} more to measure on"
    method = f"by the method `{own.method}` in {own.em_rounds} round{'s' * (own.em_rounds > 1)}"
    return f"{base}, mid-trained on `{Path(config.corpus.path).name}` ({size}) {method}, by {run.facts.made_by}."
