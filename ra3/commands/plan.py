"""`--dry-run`: what a command would do - documents, tokens, steps, memory - and how long it would take here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from ra3.commands.inputs import load_eval_problems, load_rl_problems
from ra3.commands.memory import memory_plan
from ra3.commands.sources import load_documents, load_policy
from ra3.config.tree import Config
from ra3.data.latents import EncodedDocument
from ra3.em.estep import updates_of
from ra3.em.methods import METHODS
from ra3.em.mstep import MStepJob, next_token_step
from ra3.em.round import keep
from ra3.model.optimizers import make_optimizer
from ra3.model.policy import Policy
from ra3.rollout.cursor import LatentRules
from ra3.rollout.generate import FreeRules, generate
from ra3.rollout.interleave import expert_rows, interleave

PROBE_DOCUMENTS = 8


def describe(command: str, config: Config) -> str:
    """The plan as text. Loads the model and the corpus and times a few real steps; writes nothing."""
    policy = load_policy(config)
    lines = [
        f"plan of ra3 {command} (nothing has been run)",
        f"  model      {policy.source}: {policy.num_parameters:,} parameters, {policy.device}, {config.run.dtype}",
        f"  memory     {memory_plan(policy, config, command).text()}",
    ]
    if command in ("midtrain", "demo", "annotate"):
        lines += _midtrain_lines(config, policy, command)
    if command in ("rlvr", "demo"):
        lines += _rlvr_lines(config, policy, 2 if command == "demo" else 1)
    if command in ("eval", "demo"):
        lines += _eval_lines(config, policy, 5 if command == "demo" else 1)
    return "\n".join([*lines, "settings", *(f"  {key} = {value}" for key, value in config.flat().items())])


def _midtrain_lines(config: Config, policy: Policy, command: str) -> list[str]:
    library = load_documents(config, policy)
    train, heldout = library.train, library.heldout
    steps = sum(len(d.step_ids) for d in train)
    tokens = sum(len(s) for d in train for s in d.step_ids)
    lines = [f"  corpus     {len(train)} documents, {steps:,} steps, {tokens:,} expert tokens; {len(heldout)} held out"]
    sampling_s, fitting_s = _probe(policy, train, config)
    rounds, estep = config.midtrain.em_rounds, config.midtrain.estep
    rollouts = estep.documents * estep.group_size
    if command == "annotate":
        return [*lines, f"  annotate   {len(train)} documents, {_duration(sampling_s * len(train))}"]
    method = METHODS[config.midtrain.method]
    if method.discover is not keep or command == "demo":
        updates = updates_of(estep, len(train))
        estep_s = rounds * updates * rollouts * (sampling_s + 2 * fitting_s)
        lines.append(f"  E-step     {rounds} x {updates} updates of {rollouts} rollouts, {_duration(estep_s)}")
        lines.append(f"  annotate   {rounds} x {len(train)} documents, {_duration(rounds * len(train) * sampling_s)}")
    if method.write_in is None:
        return lines
    updates = len(MStepJob(expert_rows(policy, train), config.midtrain.mstep, config.update, config.run.seed).batches())
    mstep_s = rounds * updates * config.midtrain.mstep.batch_documents * fitting_s * (2 if command == "demo" else 1)
    return [*lines, f"  M-step     {rounds} x {updates} updates, {_duration(mstep_s)}"]


def _rlvr_lines(config: Config, policy: Policy, runs: int) -> list[str]:
    programs = config.rlvr.batch_problems * config.rlvr.samples
    problems = load_rl_problems(config, config.run.seed).problems
    seconds = _generation_s(policy, [p.prompt for p in problems[:4]], config.rlvr.max_new_tokens)
    total = runs * config.rlvr.steps * programs * seconds * 2
    return [
        f"  RLVR       {runs} x {config.rlvr.steps} updates of {programs} programs, {_duration(total)} and their tests"
    ]


def _eval_lines(config: Config, policy: Policy, models: int) -> list[str]:
    problems = load_eval_problems(config, config.run.seed).problems
    programs = models * len(problems) * config.eval.samples
    seconds = _generation_s(policy, [p.prompt for p in problems[:4]], config.eval.max_new_tokens)
    return [f"  evaluation {programs:,} programs, {_duration(programs * seconds)} and their tests"]


def _probe(policy: Policy, documents: Sequence[EncodedDocument], config: Config) -> tuple[float, float]:
    """Seconds per rollout: (sampling it, one training pass over it)."""
    few = documents[:PROBE_DOCUMENTS]
    group = config.midtrain.estep.group_size
    rules = LatentRules(config.midtrain.estep.max_latent_tokens)
    sampling = median_seconds(lambda: interleave(policy, few, group, rules, list(range(len(few) * group))))
    twin = policy.snapshot()
    optimizer = make_optimizer(twin.model, config.midtrain.mstep.optimizer, 0.0)
    fitting = median_seconds(lambda: next_token_step(twin, optimizer, expert_rows(twin, few), config.update))
    return sampling / (len(few) * group), fitting / len(few)


def _generation_s(policy: Policy, prompts: Sequence[str], max_new_tokens: int) -> float:
    """Seconds per generated completion."""
    ids = [policy.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    rules = FreeRules(max_new_tokens)
    samples = 16
    rows = samples * len(ids)
    return median_seconds(lambda: generate(policy, ids, samples, rules, list(range(rows)))) / rows


def median_seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Median seconds of a call, after one that does not count."""
    found = []
    for _ in range(repeats + 1):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return median(found[1:])


def _duration(seconds: float) -> str:
    return f"about {seconds / 60:.1f} min" if seconds >= 60 else f"about {seconds:.0f} s"
