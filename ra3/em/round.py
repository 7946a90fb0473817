"""One round of mid-training: what a method has at hand in it, and the three things a method is made of.

discover     pi -> q            E-step
write_in     q  -> rows         the documents with their latents
imitate      rows -> pi         M-step
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from ra3.config.tree import Config
from ra3.data.latents import EncodedDocument
from ra3.em.annotate import DOCUMENTS_AT_ONCE, annotate
from ra3.em.estep import EStepJob, estep
from ra3.em.mstep import MStepJob, leave_out, mstep
from ra3.model.policy import Policy
from ra3.rows import Rows, concatenate
from ra3.run.recorder import Recorder, restore
from ra3.seeds import derive


@dataclass(frozen=True)
class Round:
    """What a method works with in one EM round. What its acts make is saved, and made once, also after a restart."""

    recorder: Recorder
    pi: Policy
    """The model at the start of the round."""
    documents: Sequence[EncodedDocument]
    config: Config
    em_round: int = 0

    def discover(self, **hooks: Any) -> Policy:
        """E-step: the latent policy q. `hooks` are fields of EStepJob that a method replaces."""
        config = self.config
        job = EStepJob(self.documents, config.midtrain.estep, config.update, config.run.seed, self.em_round, **hooks)
        return trained_once(
            self.recorder, f"estep-{self.em_round}", self.pi, lambda: estep(self.recorder, self.pi, job)
        )

    def write_in(self, q: Policy) -> Rows:
        """The documents with latents sampled from q, saved shard by shard."""
        parts, own = document_parts(self.documents), self.config

        def compute(part: int) -> dict[str, Tensor]:
            rows = annotate(q, self.pi, parts[part], own.midtrain, own.update, own.run.seed, self.em_round)
            return asdict(rows)

        return concatenate([Rows(**s) for s in self.recorder.parts(f"annotate-{self.em_round}", len(parts), compute)])

    def imitate(self, q: Policy, rows: Rows) -> Policy:
        """M-step: next-token prediction on the rows, one for each document, from a copy of pi (or of q)."""
        config, seed = self.config.midtrain, self.config.run.seed
        if self.em_round + 1 < config.em_rounds and config.mstep.latent_dropout:
            rows = leave_out(rows, config.mstep.latent_dropout, derive(seed, "leave_out", self.em_round))
        start = q if config.mstep.start == "q" else self.pi
        names = [d.document.id for d in self.documents]
        job = MStepJob(rows, config.mstep, self.config.update, seed, self.em_round, names)
        return trained_once(
            self.recorder, f"mstep-{self.em_round}", start, lambda: mstep(self.recorder, start.snapshot(), job)
        )

    def changed(self, estep: dict[str, Any] | None = None, mstep: dict[str, Any] | None = None) -> Round:
        """The same round with settings that are part of a method's definition."""
        own = self.config.midtrain
        changes = {"estep": own.estep.model_copy(update=estep), "mstep": own.mstep.model_copy(update=mstep)}
        return replace(self, config=self.config.model_copy(update={"midtrain": own.model_copy(update=changes)}))


@dataclass(frozen=True)
class Method:
    """A mid-training method: Method(discover=Round.discover, write_in=Round.write_in) is RA3's."""

    discover: Callable[[Round], Policy]
    """The policy that writes latents; a method without any keeps `pi`."""
    write_in: Callable[[Round, Policy], Rows] | None
    """The rows to imitate, one for each document. None: there is no M-step, and `discover` makes the round's model."""


def keep(this: Round) -> Policy:
    """`discover` of a method without reinforcement: the model as it is."""
    return this.pi


def document_parts(documents: Sequence[EncodedDocument]) -> list[Sequence[EncodedDocument]]:
    """The documents as they are annotated together."""
    return [documents[start : start + DOCUMENTS_AT_ONCE] for start in range(0, len(documents), DOCUMENTS_AT_ONCE)]


def trained_once(recorder: Recorder, stage: str, like: Policy, train: Callable[[], Policy]) -> Policy:
    """The policy that `train` makes, or the one that an earlier attempt saved; `like` has its architecture."""
    weights = recorder.once(stage, lambda: {"model": train().model.state_dict()})["model"]
    policy = like.snapshot()
    restore(policy.model, weights, stage)
    return policy
