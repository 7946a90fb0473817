"""Where a run's model and documents come from: an embedded world, or the user's own files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ra3.commands.inputs import read_corpus
from ra3.config.tree import Config
from ra3.data.documents import Corpus, refuse_bad, split_heldout
from ra3.data.latents import EncodedDocument, encode_all
from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.run.fingerprints import of_items
from ra3.run.folder import Run
from ra3.worlds import WORLDS


def load_policy(config: Config) -> Policy:
    """The model of `model.path` on the run's device, after the number of CPU threads is set."""
    set_threads(config.run.threads)
    device = choose_device(config.run.device)
    world = WORLDS.get(config.model.path)
    folder = world.model if world else Path(config.model.path)
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
    dtype = getattr(torch, config.run.dtype)
    return Policy.load(folder, config.model.weights, dtype, device, config.run.seed, config.model.opener)


def choose_device(name: str) -> torch.device:
    """The device that `run.device` names; "auto" is the first GPU, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device is available", where=f"run.device = {name}", fix="use run.device=cpu or auto")
    return torch.device(name)


def set_threads(threads: int) -> None:
    """CPU threads of the model; 0 is every core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or cores)


@dataclass(frozen=True)
class Library:
    """The documents of a run as ids, and what could not be used."""

    train: list[EncodedDocument]
    heldout: list[EncodedDocument]
    corpus: Corpus

    @property
    def longest(self) -> int:
        """Tokens of the longest document with its context."""
        return max(len(d.context_ids) + sum(map(len, d.step_ids)) for d in (*self.train, *self.heldout))

    def noted(self, run: Run) -> tuple[list[EncodedDocument], list[EncodedDocument]]:
        """(training, held-out) documents, after the run folder has got the facts and quarantine.jsonl.

        UserError where the run began with other documents."""
        if self.corpus.quarantine:
            with run.guard("write quarantine.jsonl"):
                self.corpus.write_quarantine(run.path("quarantine.jsonl"))
        run.add_facts(corpus=self.facts())
        everything = (*self.train, *self.heldout)
        run.pin_inputs(corpus=of_items((d.document.id, d.context_ids, d.step_ids) for d in everything))
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


def load_documents(config: Config, policy: Policy) -> Library:
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
    return Library(encoded[0], encoded[1], corpus)
