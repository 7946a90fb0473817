"""One round of mid-training: the three acts that a method is composed of.

    q    = em.e_step()           reinforcement finds latents, starting from pi
    text = em.annotate(q)        the documents with latents sampled from q written in
    pi   = em.m_step(text)       next-token prediction on that text

What the acts make is saved, and made once, also after a restart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from ra3.config.settings import MidtrainSettings, UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.em.annotate import Latents, annotate, document_parts
from ra3.em.estep import EStep
from ra3.em.mstep import drop_latents, mstep
from ra3.model.policy import Policy
from ra3.model.update import score, scoring_cost
from ra3.rl.credit import step_sums
from ra3.rl.loop import Task, reinforce
from ra3.rollout.interleave import expert_rows
from ra3.rows import Rows, concatenate
from ra3.run.recorder import Recorder, restore
from ra3.seeds import derive


@dataclass(frozen=True)
class AnnotatedText:
    """What an M-step imitates, and the policy that wrote its latents."""

    rows: Rows
    """One for each document, its number the group; branches of a document are further rows of its group."""
    writer: Policy


@dataclass(frozen=True)
class EMRound:
    """What a method works with in one EM round."""

    recorder: Recorder
    pi: Policy
    """The model at the start of the round."""
    documents: Sequence[EncodedDocument]
    settings: MidtrainSettings
    update: UpdateSettings
    seed: int
    em_round: int = 0

    def e_step(self, task: type[EStep] = EStep, **seams: Any) -> Policy:
        """Trains a copy of pi by reinforcement to write latents under which the expert's steps are likely: q.

        A method may replace the `view` and the `judge` of the task (`seams`), or the task itself."""
        given = self.recorder, self.pi, self.documents, self.settings.estep, self.update, self.seed, self.em_round
        return self.reinforce(task(*given, **seams))

    def reinforce(self, task: Task) -> Policy:
        """Trains a copy of pi by any task of the RL loop, in the place of the E-step."""
        train = lambda policy: reinforce(self.recorder, policy, task)  # noqa: E731
        return trained_once(self.recorder, f"estep-{self.em_round}", self.pi, train)

    def annotate(self, q: Policy, latents: Latents = "sample") -> AnnotatedText:
        """Writes latents sampled from q into the documents, shard by shard: one sample each, or one of G."""
        parts, place = document_parts(self.documents), (self.seed, self.em_round)

        def compute(part: int) -> dict[str, Tensor]:
            ledger = self.recorder.ledger
            rows = annotate(q, self.pi, parts[part], self.settings, self.update, *place, ledger, latents)
            return asdict(replace(rows, group=rows.group + sum(map(len, parts[:part]))))

        saved = self.recorder.parts(f"annotate-{self.em_round}", len(parts), compute)
        return AnnotatedText(concatenate([Rows(**shard) for shard in saved]), q)

    def likeliest_places(self) -> list[int]:
        """For each document the boundary of the largest P("#") under pi; the first, where all are equal."""

        def compute() -> dict[str, list[int]]:
            rows = expert_rows(self.pi, self.documents, decisions=True)
            decisions = rows.decisions
            with self.recorder.phase("scoring", **scoring_cost(self.pi, rows, decisions)):
                log_act = score(self.pi, rows, decisions, self.update.micro_batch_tokens).logp_action * decisions
            return {"places": step_sums(log_act, rows.step, rows.num_steps).argmin(1).tolist()}

        return self.recorder.once(f"estep-{self.em_round}.places", compute)["places"]

    def plain(self) -> AnnotatedText:
        """The documents as they are."""
        return AnnotatedText(expert_rows(self.pi, self.documents), self.pi)

    def m_step(self, text: AnnotatedText, distil: bool = False) -> Policy:
        """Trains a copy of pi (or of the writer, as settings say) by next-token prediction on the text: the next pi.
        With `distil` the lines of its branches are learned from what it says of them without a comment."""
        own, rows, last = self.settings.mstep, text.rows, self.em_round + 1 == self.settings.em_rounds
        if own.latent_dropout and not last:
            rows = drop_latents(rows, own.latent_dropout, derive(self.seed, "leave_out", self.em_round))
        names, place = [d.id for d in self.documents], (self.seed, self.em_round)
        start = text.writer if own.start == "q" else self.pi
        train = lambda policy: mstep(self.recorder, policy, rows, names, own, self.update, *place, distil)  # noqa: E731
        return trained_once(self.recorder, f"mstep-{self.em_round}", start, train)

    def with_settings(self, **estep: Any) -> EMRound:
        """The same round with settings of the E-step that are part of a method's definition."""
        own = self.settings
        return replace(self, settings=own.model_copy(update={"estep": own.estep.model_copy(update=estep)}))

    def always_thinking(self, horizon: int, **estep: Any) -> EMRound:
        """The round with a latent at every boundary that allows one, judged by the `horizon` steps after it. Nothing
        prices it but `format_penalty`, if it is not closed."""
        forced = {"switch_penalty": 0.0, "exact_prior": None, "think_floor": (1.0, sys.maxsize)}
        return self.with_settings(**{**forced, "horizon": horizon, **estep})


Method = Callable[[EMRound], Policy]
"""A method of mid-training: what it makes of pi in one EM round."""


def trained_once(recorder: Recorder, stage: str, start: Policy, train: Callable[[Policy], Policy]) -> Policy:
    """The policy that `train` makes of a copy of `start`, or the one that an earlier attempt saved."""
    weights = recorder.once(stage, lambda: {"model": train(start.learner()).learnt.state_dict()})["model"]
    policy = start.learner()
    restore(policy.learnt, weights, stage)
    return policy
