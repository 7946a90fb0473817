"""What a command would take: memory, worked out before every run, and with `--dry-run` documents, steps and time.

A run holds at its peak, and one that cannot fit is refused:

    weights of every copy + gradients + two optimiser moments        4 bytes a number, whatever the passes compute in
    + the larger of
        training:   activations of one pass, about 16 D + 4 I numbers a token and layer (width D, inner width I);
                    with checkpoint_activations D a token and layer, and one layer's; and the logits held at once
        sampling:   keys and values of all rows that are decoded at once, and the logits of their next tokens

Rows count as long as their text, or as the program they may write; latents and prompts come on top.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from ra3.commands.inputs import TokenizedCorpus, load_documents, load_eval_problems, load_policy, load_rl_problems
from ra3.config.settings import Config
from ra3.em.annotate import Latents
from ra3.em.methods import METHODS
from ra3.em.mstep import mstep_batches, next_token_step
from ra3.em.round import AnnotatedText, EMRound
from ra3.errors import UserError
from ra3.grading.problems import Problem
from ra3.model.optimizers import make_optimizer
from ra3.model.policy import HEAD_CHUNK_LOGITS, Policy
from ra3.model.update import MAX_PASS_TOKENS_ON_CPU
from ra3.rl.loop import Task
from ra3.rollout.cursor import LatentRules
from ra3.rollout.decoding import MAX_RUNNING_ROWS
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import expert_rows, interleave
from ra3.run.ledger import duration

COPIES = {"midtrain": 3, "demo": 3, "rlvr": 1, "eval": 1, "annotate": 1}
"""Models held at once: pi, q and the one returned."""
FROZEN = ("eval", "annotate")
"""Commands that train nothing."""
LIBRARIES = 0.35 * 2**30
"""Resident size of a process that has imported everything."""
LOGITS_HELD = 4
"""Tensors as large as the logits of a part of a pass: themselves, log-probabilities, entropy's, their gradient."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PROBE_DOCUMENTS, PROBE_SAMPLES = 8, 16


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of each part, and of the machine."""

    libraries: float
    weights: float
    gradients: float
    moments: float
    activations: float
    logits: float
    sampling: float
    pass_tokens: int
    machine: float

    @property
    def fixed(self) -> float:
        """What no batch geometry changes."""
        return self.libraries + self.weights + self.gradients + self.moments

    @property
    def peak(self) -> float:
        """The most that is held at once."""
        return self.fixed + max(self.activations + self.logits, self.sampling)

    def text(self) -> str:
        """In one line."""
        parts = {
            "weights": self.weights, "gradients": self.gradients, "moments": self.moments,
            f"activations of {self.pass_tokens:,} tokens": self.activations, "logits": self.logits,
            "or sampling": self.sampling, "libraries": self.libraries,
        }  # fmt: skip
        listed = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items() if size)
        return f"about {self.peak / 2**30:.1f} of {self.machine / 2**30:.1f} GiB at the peak: {listed}"


def memory_plan(policy: Policy, config: Config, command: str, longest: int | None = None) -> MemoryPlan:
    """The plan of a command whose longest row has `longest` tokens, or as many as the settings allow."""
    copy, trained, on_cpu = 4.0 * policy.num_parameters, command not in FROZEN, policy.device.type == "cpu"
    if longest is None:
        own = {"rlvr": config.rlvr.max_new_tokens, "eval": config.eval.max_new_tokens}
        longest = own.get(command, config.corpus.max_tokens)
    rows = MAX_RUNNING_ROWS[policy.device.type]  # a corpus or a set of problems has more than that
    if command == "rlvr":
        rows = min(rows, config.rlvr.batch_problems * config.rlvr.samples)
    most = MAX_PASS_TOKENS_ON_CPU if on_cpu else sys.maxsize
    pass_tokens = max(min(config.update.micro_batch_tokens, most), longest)
    text, vocabulary = policy.model.config.get_text_config(), policy.comment_mask.numel()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    key_values = 2 * longest * text.num_hidden_layers * heads * size
    return MemoryPlan(
        libraries=LIBRARIES if on_cpu else 0.0,
        weights=copy * COPIES[command],
        gradients=copy * trained,
        moments=2 * copy * trained,
        activations=activations(policy, pass_tokens, config.update.checkpoint_activations) * trained,
        logits=4.0 * LOGITS_HELD * max(HEAD_CHUNK_LOGITS, vocabulary),
        sampling=4.0 * rows * (key_values + LOGITS_HELD * vocabulary),
        pass_tokens=pass_tokens,
        machine=machine_bytes(policy.device),
    )


def activations(policy: Policy, tokens: int, checkpointing: bool) -> float:
    """Bytes that a forward pass over `tokens` keeps for its backward pass."""
    text = policy.model.config.get_text_config()
    layer = 16 * text.hidden_size + 4 * (getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
    kept = text.num_hidden_layers * text.hidden_size + layer if checkpointing else text.num_hidden_layers * layer
    return tokens * kept * (2.0 if policy.dtype == torch.bfloat16 else 4.0)


def refuse_too_large(plan: MemoryPlan, config: Config) -> None:
    """UserError, with what helps most, if the plan cannot fit in the machine."""
    if plan.peak <= plan.machine:
        return
    if plan.fixed > plan.machine:
        fix = "take a smaller model, or a machine with more memory"
    elif plan.sampling > plan.activations + plan.logits:
        shorter = "lower corpus.max_tokens, rlvr.max_new_tokens or eval.max_new_tokens"
        fix = f"sample shorter rows, or fewer: {shorter}; or rlvr.batch_problems or samples"
    elif not config.update.checkpoint_activations:
        fix = "set update.checkpoint_activations to true, or lower update.micro_batch_tokens"
    else:
        fix = "lower update.micro_batch_tokens, and corpus.max_tokens below it"
    where = f"update.micro_batch_tokens = {config.update.micro_batch_tokens}"
    raise UserError(f"this run does not fit in memory: {plan.text()}", where=where, fix=fix)


def machine_bytes(device: torch.device) -> float:
    """Memory of the GPU, or of this machine, or of the container if that has less."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    for limit in map(Path, CGROUP_LIMITS):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            found.append(float(text))
    return min(found)


def describe(command: str, config: Config) -> str:
    """The plan as text. Loads the model and the corpus and times a few real steps; writes nothing."""
    policy = load_policy(config.run, config.model)
    corpus = load_documents(config, policy) if command in ("midtrain", "demo", "annotate") else None
    lines = [
        f"plan of ra3 {command} (nothing has been run)",
        f"  model      {policy.source}: {policy.num_parameters:,} parameters, {policy.device}, {config.run.dtype}",
        *(f"             {note}" for note in policy.notes),
        f"  memory     {memory_plan(policy, config, command, corpus and corpus.longest).text()}",
    ]
    if corpus:
        lines += _corpus_lines(config, policy, corpus, command)
    if command in ("rlvr", "demo"):
        own, runs = config.rlvr, 2 if command == "demo" else 1
        programs, problems = own.batch_problems * own.samples, load_rl_problems(config).problems
        spent = duration(2 * runs * own.steps * programs * _generation_s(policy, problems, own.max_new_tokens))
        lines.append(f"  RLVR       {runs} x {own.steps} updates of {programs} programs, about {spent} and their tests")
    if command in ("eval", "demo"):
        own, problems = config.eval, load_eval_problems(config).problems
        programs = (5 if command == "demo" else 1) * len(problems) * own.samples
        spent = duration(programs * _generation_s(policy, problems, own.max_new_tokens))
        lines.append(f"  evaluation {programs:,} programs, about {spent} and their tests")
    return "\n".join([*lines, "settings", *(f"  {key} = {value}" for key, value in config.flat().items())])


def _corpus_lines(config: Config, policy: Policy, corpus: TokenizedCorpus, command: str) -> list[str]:
    """What there is, and what each act of the command would do; a method is run on rounds that only count."""
    facts, own, num_train = corpus.facts(), config.midtrain, len(corpus.train)
    found = f"{num_train} documents, {facts['steps']:,} steps, {facts['expert_tokens']:,} expert tokens"
    lines = [f"  corpus     {found}; {len(corpus.heldout)} held out"]
    few, group = corpus.train[:PROBE_DOCUMENTS], own.estep.group_size
    rules, seeds, twin = LatentRules(own.estep.max_latent_tokens), list(range(len(few) * group)), policy.snapshot()
    optimizer = make_optimizer(twin.model, own.mstep.optimizer, 0.0)
    sampling_s = _seconds(lambda: interleave(policy, few, group, rules, seeds)) / len(seeds)
    if command == "annotate":
        count = len(corpus.documents)
        return [*lines, f"  annotate   {count} documents, about {duration(sampling_s * count)}"]
    fitting_s = _seconds(lambda: next_token_step(twin, optimizer, expert_rows(twin, few), config.update)) / len(few)
    rollouts = own.estep.documents * group
    units = {
        "E-step": (f"updates of {rollouts} rollouts", rollouts * (sampling_s + 2 * fitting_s)),
        "annotate": ("documents", sampling_s),
        "M-step": ("updates", own.mstep.batch_documents * fitting_s),
    }
    for method in ("ntp", "ra3") if command == "demo" else (own.method,):
        counts, no_recorder = Counter[str](), cast(Any, None)
        for em_round in range(own.em_rounds):
            place = (config.update, config.run.seed, em_round)
            METHODS[method](_PlannedRound(no_recorder, policy, corpus.train, own, *place, counts))
        for act, count in counts.items():
            unit, seconds = units[act]
            lines.append(f"  {act:10} {method}: {count} {unit}, about {duration(count * seconds)}")
    return lines


@dataclass(frozen=True)
class _PlannedRound(EMRound):
    """A round whose acts do nothing but count what they would do."""

    counts: Counter[str] = field(default_factory=Counter)

    def reinforce(self, task: Task) -> Policy:
        self.counts["E-step"] += task.num_steps
        return self.pi

    def likeliest_places(self) -> list[int]:
        return [0] * len(self.documents)

    def annotate(self, q: Policy, latents: Latents = "sample") -> AnnotatedText:
        self.counts["annotate"] += len(self.documents)
        return self.plain()

    def m_step(self, text: AnnotatedText) -> Policy:
        self.counts["M-step"] += len(mstep_batches(text.rows, self.settings.mstep, self.seed))
        return self.pi


def _generation_s(policy: Policy, problems: Sequence[Problem], max_new_tokens: int) -> float:
    """Seconds per generated completion."""
    ids = [policy.tokenizer(problem.prompt, add_special_tokens=False)["input_ids"] for problem in problems[:4]]
    params, seeds = SamplingParams(max_new_tokens), list(range(PROBE_SAMPLES * len(ids)))
    return _seconds(lambda: generate(policy, ids, PROBE_SAMPLES, params, seeds)) / len(seeds)


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of a call, after one that does not count."""
    start = 0.0
    for _ in range(2):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return time.perf_counter() - start
