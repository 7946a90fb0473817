"""`--dry-run`: what a command would do - documents, tokens, steps, memory - and how long it would take here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from ra3.commands.inputs import load_documents, load_eval_problems, load_policy, load_rl_problems
from ra3.commands.memory import memory_plan
from ra3.config.settings import Config
from ra3.data.latents import EncodedDocument
from ra3.em.annotate import Latents
from ra3.em.methods import METHODS
from ra3.em.mstep import mstep_batches, next_token_step
from ra3.em.round import AnnotatedText, EMRound
from ra3.model.optimizers import make_optimizer
from ra3.model.policy import Policy
from ra3.rl.loop import Task
from ra3.rollout.cursor import LatentRules
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import expert_rows, interleave

PROBE_DOCUMENTS = 8


def describe(command: str, config: Config) -> str:
    """The plan as text. Loads the model and the corpus and times a few real steps; writes nothing."""
    policy = load_policy(config.run, config.model)
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
    corpus, settings = load_documents(config, policy), config.midtrain
    train, heldout = corpus.train, corpus.heldout
    steps = sum(len(d.step_ids) for d in train)
    tokens = sum(len(s) for d in train for s in d.step_ids)
    lines = [f"  corpus     {len(train)} documents, {steps:,} steps, {tokens:,} expert tokens; {len(heldout)} held out"]
    sampling_s, fitting_s = _probe(policy, train, config)
    if command == "annotate":
        return [*lines, f"  annotate   {len(train)} documents, {_duration(sampling_s * len(train))}"]
    for method in ("ntp", "ra3") if command == "demo" else (settings.method,):
        acts = planned_acts(method, policy, train, config)
        rollouts = settings.estep.documents * settings.estep.group_size
        for act, count in acts.items():
            seconds = {
                "E-step": count * rollouts * (sampling_s + 2 * fitting_s),
                "annotate": count * sampling_s,
                "M-step": count * settings.mstep.batch_documents * fitting_s,
            }[act]
            unit = {"E-step": f"updates of {rollouts} rollouts", "annotate": "documents", "M-step": "updates"}[act]
            lines.append(f"  {act:10} {method}: {count} {unit}, {_duration(seconds)}")
    return lines


def planned_acts(method: str, policy: Policy, documents: Sequence[EncodedDocument], config: Config) -> dict[str, int]:
    """What a method will do over all rounds: {"E-step": updates, "annotate": documents, "M-step": updates}, without
    those that it does not have. The method itself is run, on a round that only counts."""
    counts: dict[str, int] = {}
    for em_round in range(config.midtrain.em_rounds):
        recorder: Any = None  # planned acts write nothing
        place = (config.midtrain, config.update, config.run.seed, em_round)
        METHODS[method](_PlannedRound(recorder, policy, documents, *place, counts))
    return counts


@dataclass(frozen=True)
class _PlannedRound(EMRound):
    """A round whose acts do nothing but count what they would do."""

    counts: dict[str, int] = field(default_factory=dict)

    def reinforce(self, task: Task) -> Policy:
        return self._counted("E-step", task.num_steps, self.pi)

    def likeliest_places(self) -> list[int]:
        return [0] * len(self.documents)

    def annotate(self, q: Policy, latents: Latents = "sample") -> AnnotatedText:
        return self._counted("annotate", len(self.documents), self.plain())

    def m_step(self, text: AnnotatedText) -> Policy:
        return self._counted("M-step", len(mstep_batches(text.rows, self.settings.mstep, self.seed)), self.pi)

    def _counted(self, act: str, count: int, result: Any) -> Any:
        self.counts[act] = self.counts.get(act, 0) + count
        return result


def _rlvr_lines(config: Config, policy: Policy, runs: int) -> list[str]:
    programs = config.rlvr.batch_problems * config.rlvr.samples
    problems = load_rl_problems(config).problems
    seconds = _generation_s(policy, [p.prompt for p in problems[:4]], config.rlvr.max_new_tokens)
    total = runs * config.rlvr.steps * programs * seconds * 2
    return [
        f"  RLVR       {runs} x {config.rlvr.steps} updates of {programs} programs, {_duration(total)} and their tests"
    ]


def _eval_lines(config: Config, policy: Policy, models: int) -> list[str]:
    problems = load_eval_problems(config).problems
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
    params = SamplingParams(max_new_tokens)
    samples = 16
    rows = samples * len(ids)
    return median_seconds(lambda: generate(policy, ids, samples, params, list(range(rows)))) / rows


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
