"""Mid-training: the EM loop of RA3 (arXiv 2509.25810), and plain next-token prediction (NTP) as its limit c = inf.

for each EM round:
    E-step       q  <- RL on the latents, starting from pi; reward = log pi(expert step | latents) - c * 1[think]
    annotate     z  ~  q for every document
    M-step       pi <- next-token prediction on the documents with z written in
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from torch import Tensor

from ra3.annotate import DOCUMENTS_AT_ONCE, annotate
from ra3.config import Config
from ra3.estep import EStepJob, estep
from ra3.interleave import expert_rows
from ra3.latents import EncodedDocument
from ra3.mstep import MStepJob, leave_out, mstep
from ra3.policy import Policy
from ra3.recorder import Recorder, restore
from ra3.rows import Rows, concatenate
from ra3.seeds import derive


def midtrain(recorder: Recorder, policy: Policy, documents: Sequence[EncodedDocument], config: Config) -> Policy:
    """Mid-trains a copy of `policy` on `documents` and returns it. Every line is done once, also after a restart."""
    pi = policy
    for em_round in range(config.midtrain.em_rounds):
        if config.midtrain.method == "ntp":
            start, rows = pi, expert_rows(pi, documents)
        else:
            q = discover(recorder, pi, documents, config, em_round)
            rows = write_in(recorder, q, pi, documents, config, em_round)
            start = q if config.midtrain.mstep.start == "q" else pi
        pi = imitate(recorder, start, rows, [d.document.id for d in documents], config, em_round)
    return pi


def discover(
    recorder: Recorder, pi: Policy, documents: Sequence[EncodedDocument], config: Config, em_round: int
) -> Policy:
    """E-step: the latent policy q."""
    job = EStepJob(documents, config.midtrain.estep, config.update, config.run.seed, em_round)
    return trained_once(recorder, f"estep-{em_round}", pi, lambda: estep(recorder, pi, job))


def write_in(
    recorder: Recorder, q: Policy, pi: Policy, documents: Sequence[EncodedDocument], config: Config, em_round: int
) -> Rows:
    """The documents with latents sampled from q, saved shard by shard."""
    parts = document_parts(documents)

    def compute(part: int) -> dict[str, Tensor]:
        return asdict(annotate(q, pi, parts[part], config.midtrain, config.update, config.run.seed, em_round))

    return concatenate([Rows(**saved) for saved in recorder.parts(f"annotate-{em_round}", len(parts), compute)])


def document_parts(documents: Sequence[EncodedDocument]) -> list[Sequence[EncodedDocument]]:
    """The documents as they are annotated together."""
    return [documents[start : start + DOCUMENTS_AT_ONCE] for start in range(0, len(documents), DOCUMENTS_AT_ONCE)]


def imitate(
    recorder: Recorder, start: Policy, rows: Rows, names: Sequence[str], config: Config, em_round: int
) -> Policy:
    """M-step: next-token prediction on the rows, one for each document in `names`, from a copy of `start`."""
    if em_round + 1 < config.midtrain.em_rounds and config.midtrain.mstep.latent_dropout:
        rows = leave_out(rows, config.midtrain.mstep.latent_dropout, derive(config.run.seed, "leave_out", em_round))
    job = MStepJob(rows, config.midtrain.mstep, config.update, config.run.seed, em_round, names)
    return trained_once(recorder, f"mstep-{em_round}", start, lambda: mstep(recorder, start.snapshot(), job))


def trained_once(recorder: Recorder, stage: str, like: Policy, train: Callable[[], Policy]) -> Policy:
    """The policy that `train` makes, or the one that an earlier attempt saved; `like` has its architecture."""
    weights = recorder.once(stage, lambda: {"model": train().model.state_dict()})["model"]
    policy = like.snapshot()
    restore(policy.model, weights, stage)
    return policy
