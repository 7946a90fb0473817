"""What the stages of a run take: seconds from the FLOPs of their rows and the speed of small trials, and memory.

Rows are as long as the corpus's are on the average, and have as many latents as the model would write now.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import mean
from typing import Any, NamedTuple, Self, cast

import torch

from ra3.commands.corpus_look import CorpusLook
from ra3.commands.memory import MemoryPlan
from ra3.commands.speed import Speed, Stopwatch
from ra3.config.settings import Config, MidtrainSettings
from ra3.em.annotate import Latents
from ra3.em.methods import METHODS
from ra3.em.round import AnnotatedText, EMRound
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.model.update import forward_flops, score
from ra3.rl.loop import Task
from ra3.rollout.decoding import MAX_RUNNING_ROWS
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import expert_rows
from ra3.rollout.programs import encode_prompts
from ra3.rows import DECISION, Rows
from ra3.run.ledger import duration
from ra3.run.recorder import between_checkpoints_s

JUDGED_DOCUMENTS, JUDGED_TOKENS = 6, 80
"""The beginnings of documents on which it is measured how often the model would think."""
COMMENT_TOKENS = 12
"""Tokens of a comment that a model writes, where the settings allow so many."""
GENERATION_S = 2.0
"""Programs are made longer in a trial until it takes so long."""


class PlannedStage(NamedTuple):
    """A stage of a run: PlannedStage("M-step", "54 updates, 1,720,000 tokens", 5321.0, 4.1e9)."""

    name: str
    work: str
    seconds: float
    memory: float

    def line(self) -> str:
        """The stage in one line."""
        return f"  {self.name:10} {self.work}: about {duration(self.seconds)}, {self.memory / 2**30:.1f} GiB"

    def times(self, count: int) -> PlannedStage:
        """The stage, done so many times."""
        return self if count == 1 else self._replace(work=f"{count} x {self.work}", seconds=count * self.seconds)


@dataclass(frozen=True)
class MidtrainingCosts:
    """What the acts of mid-training take."""

    config: Config
    policy: Policy
    corpus: CorpusLook
    speed: Speed
    memory: MemoryPlan
    share: float
    """Of the time by the clock, how much a run is at work."""
    think_rate: float
    """How often the model would think now."""

    @classmethod
    def of(
        cls, config: Config, policy: Policy, corpus: CorpusLook, speed: Speed, memory: MemoryPlan, share: float = 1.0
    ) -> Self:
        """The costs, once it has been measured how often the model would think."""
        spread = slice(None, None, max(1, len(corpus.documents) // JUDGED_DOCUMENTS))
        judged = cut_rows(corpus.rows.select(spread).select(slice(JUDGED_DOCUMENTS)), JUDGED_TOKENS)
        decisions = judged.action_mask & (judged.action_space == DECISION)
        log_act = score(policy, judged, decisions, config.update.micro_batch_tokens).logp_action[decisions]
        rate = float((1 - log_act.exp()).mean()) if decisions.any() else 0.0
        return cls(config, policy, corpus, speed, memory, share, rate)

    def stages(self, methods: Sequence[str]) -> list[PlannedStage]:
        """The stages of mid-training by each of these methods."""
        own, part, found = self.config.midtrain, self.corpus.documents, list[PlannedStage]()
        documents = [part[i % len(part)] for i in range(self.corpus.num_rows)]
        for method in methods:
            acts, no_recorder = Counter[str](), cast(Any, None)
            for em_round in range(own.em_rounds):
                place = (self.config.update, self.config.run.seed, em_round)
                METHODS[method](_PlannedRound(no_recorder, self.policy, documents, own, *place, acts))
            stages = [self._stage(act, acts)._replace(name=f"{act} {method}") for act in acts]
            found += [*stages, *self._measuring(), self._saving(stages, acts)]
        return found

    def annotation(self, count: int) -> PlannedStage:
        """Latents sampled for so many rows."""
        floor = float((self.config.midtrain.estep.think_floor or (0.0, 0))[0] == 1)
        return PlannedStage("annotate", f"{count:,} rows", self._sampling_s(count, floor), self.memory.sampling_peak)

    def _stage(self, act: str, acts: Counter[str]) -> PlannedStage:
        own = self.config.midtrain
        if act == "annotate":
            return self.annotation(acts[act])
        if act == "E-step":
            work = f"{acts[act]} updates of {own.estep.documents * own.estep.group_size} rollouts"
            return PlannedStage(act, work, acts[act] * self._estep_update_s(own), self.memory.peak)
        latents = acts["annotate"] > 0
        rows = acts[act] * (own.mstep.tokens / self._tokens(latents) or self.corpus.num_rows * own.mstep.epochs)
        updates = math.ceil(rows / own.mstep.batch_documents)
        steps_s = updates * self.speed.optimizer_s[own.mstep.optimizer]
        seconds = self.speed.passes * rows * self._flops(latents) / self.speed.training + steps_s
        work = f"{updates:,} updates, {rows * self._tokens(latents):,.0f} tokens"
        return PlannedStage(act, work, seconds, self.memory.training_peak)

    def _estep_update_s(self, own: MidtrainSettings) -> float:
        """Seconds of one update of the E-step: rollouts, their scores and those of plain rows, and one step. That rows
        of a document are read together as long as nobody thinks is left out."""
        documents, floor = own.estep.documents, (own.estep.think_floor or (0.0, 0))[0]
        rollouts, flops = documents * own.estep.group_size, self._flops(True, floor)
        learning_s = self.speed.passes * rollouts * flops / self.speed.training + self.speed.optimizer_s["adamw"]
        return self._sampling_s(rollouts, floor) + (rollouts + documents) * flops / self.speed.forward + learning_s

    def _measuring(self) -> list[PlannedStage]:
        """Held-out text under the model before and after: rollouts, and scores with latents and without."""
        count = self.corpus.num_heldout_rows
        seconds = 2 * (self._sampling_s(count) + 2 * count * self._flops(True) / self.speed.forward)
        found = PlannedStage("held out", f"{count:,} rows, base and trained", seconds, self.memory.sampling_peak)
        return [found] if count else []

    def _saving(self, stages: Sequence[PlannedStage], acts: Counter[str]) -> PlannedStage:
        """What stages give, and the state between steps: weights and moments."""
        learning_s = sum(stage.seconds for stage in stages if stage.memory != self.memory.sampling_peak)
        copy_s = 2 * self.memory.gradients / self.speed.saving  # made in memory, and written, which takes about as long
        pause_s = between_checkpoints_s(self.config.run.checkpoint_every_s, 3 * copy_s)  # as many as learn, two moments
        between = int(learning_s / self.share / max(pause_s, 1.0))
        outputs = 2 * self.config.midtrain.em_rounds if acts["E-step"] else self.config.midtrain.em_rounds
        seconds = (outputs + 3 * between) * copy_s
        return PlannedStage("saving", f"{outputs + between} checkpoints", seconds, self.memory.fixed)

    @property
    def _boundaries(self) -> float:
        """Boundaries of a row at which the model may think."""
        return float((self.corpus.rows.action_space == DECISION).sum()) / len(self.corpus.documents)

    def _thoughts(self, floor: float = 0.0) -> float:
        """Latents of a row."""
        finite = math.isfinite(self.config.midtrain.estep.switch_penalty)
        return self._boundaries * max(self.think_rate, floor) * finite

    @property
    def _comment(self) -> int:
        """Tokens of a latent, its beginning and end among them."""
        return min(COMMENT_TOKENS, self.config.midtrain.estep.max_latent_tokens) + 2

    def _tokens(self, latents: bool) -> float:
        """Expert tokens of a row, and those of latents."""
        own = float(self.corpus.rows.expert.sum()) / len(self.corpus.documents)
        return own + latents * self._thoughts() * self._comment

    def _flops(self, latents: bool, floor: float = 0.0) -> float:
        """FLOPs of a pass over a row."""
        rows, extra = self.corpus.rows, latents * self._thoughts(floor) * self._comment
        heads = float(rows.expert.sum()) + extra * len(rows)
        return forward_flops(self.policy, rows.length + round(extra), heads) / len(rows)

    def _sampling_s(self, count: int, floor: float = 0.0) -> float:
        """Seconds of `count` rollouts: they read their rows, and the one that writes most decides on the passes."""
        thoughts, at_once = self._thoughts(floor), MAX_RUNNING_ROWS[self.policy.device.type]
        deepest = thoughts + math.sqrt(2 * thoughts * math.log(max(2, min(count, at_once))))
        passes = max(1 + deepest * self._comment, count / at_once * (1 + thoughts * self._comment))
        return count * self._flops(True, floor) / self.speed.forward + passes * self.speed.decode_s


def cut_rows(rows: Rows, tokens: int) -> Rows:
    """The first tokens of every row."""
    parts = {name: value[:, :tokens] if value.dim() == 2 else value for name, value in vars(rows).items()}
    return replace(rows, **parts | {"length": rows.length.clamp(max=tokens)})


@dataclass(frozen=True)
class _PlannedRound(EMRound):
    """A round whose acts do nothing but count what they would do."""

    acts: Counter[str] = field(default_factory=Counter)

    def reinforce(self, task: Task) -> Policy:
        self.acts["E-step"] += task.num_steps
        return self.pi

    def likeliest_places(self) -> list[int]:
        return [0] * len(self.documents)

    def annotate(self, q: Policy, latents: Latents = "sample") -> AnnotatedText:
        self.acts["annotate"] += len(self.documents) * (1 if latents == "sample" else self.settings.estep.group_size)
        return self.plain()

    def plain(self) -> AnnotatedText:
        return AnnotatedText(expert_rows(self.pi, self.documents[:1]), self.pi)

    def m_step(self, text: AnnotatedText, distil: bool = False) -> Policy:
        self.acts["M-step"] += 1
        return self.pi


def program_costs(
    watch: Stopwatch, policy: Policy, problems: Sequence[Problem], samples: int, max_tokens: int
) -> tuple[float, float]:
    """(seconds, tokens) of a sampled program, as many at once as in a run: what ends within a trial is known, of
    others only that they end at `max_tokens`."""
    at_once = min(MAX_RUNNING_ROWS[policy.device.type], samples * len(problems))
    prompts = encode_prompts(policy, problems[: max(1, at_once // samples)])
    samples, stops, tokens = min(samples, at_once), [p.stop for p in problems[: len(prompts)]], min(4, max_tokens)
    seeds, spent, done, results = list(range(samples * len(prompts))), 0.0, 0, list[Rows]()
    while True:
        before, asked = (spent, done), partial(generate, policy, prompts, samples, SamplingParams(tokens), seeds)
        spent = watch.once(lambda asked=asked: results.append(asked(stops=stops)))
        done = int((rows := results.pop()).action_mask.sum(1).max())
        if done < tokens or tokens == max_tokens or spent > GENERATION_S:
            break
        tokens = min(2 * tokens, max_tokens)
    written = float(rows.action_mask.sum(1).float().mean())
    if done == tokens < max_tokens:  # more passes like those that the last trial had over the one before
        per_pass = (spent - before[0]) / max(1, done - before[1])
        spent, written = spent + per_pass * (max_tokens - done), float(max_tokens)
    return spent / len(seeds), written


def rlvr_stage(
    config: Config, policy: Policy, problems: Sequence[Problem], watch: Stopwatch, speed: Speed, memory: MemoryPlan
) -> PlannedStage:
    """RLVR: sampling, and a step on every program."""
    own, programs = config.rlvr, config.rlvr.batch_problems * config.rlvr.samples
    seconds, tokens = program_costs(watch, policy, problems[: own.batch_problems], own.samples, own.max_new_tokens)
    prompts = mean(map(len, encode_prompts(policy, problems[:64])))
    length = torch.tensor([round(prompts / own.samples + tokens)])  # the prompt is read once for all samples
    passes_s = speed.passes * programs * forward_flops(policy, length, tokens) / speed.training
    step_s = passes_s + speed.optimizer_s["adamw"]
    work = f"{own.steps} updates of {programs} programs and their tests"
    return PlannedStage("RLVR", work, own.steps * (programs * seconds + step_s), memory.peak)


def evaluation_stage(
    config: Config, policy: Policy, problems: Sequence[Problem], watch: Stopwatch, memory: MemoryPlan
) -> PlannedStage:
    """Evaluation: sampling alone; tests are run beside it."""
    own, programs = config.eval, len(problems) * config.eval.samples
    seconds = programs * program_costs(watch, policy, problems, own.samples, own.max_new_tokens)[0]
    return PlannedStage("evaluation", f"{programs:,} programs and their tests", seconds, memory.sampling_peak)
