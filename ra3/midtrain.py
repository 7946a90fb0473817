"""Mid-training: the EM loop of RA3 (arXiv 2509.25810), and plain next-token prediction (NTP) as its limit c = inf.

for each EM round:
    E-step       q  <- RL on the latents, starting from pi; reward = log pi(expert step | latents) - c * 1[think]
    annotate     z  ~  q for every document
    M-step       pi <- next-token prediction on the documents with z written in
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from ra3.annotate import annotate
from ra3.config import Config
from ra3.estep import EStepJob, estep
from ra3.latents import EncodedDocument
from ra3.mstep import MStepJob, mstep
from ra3.policy import Policy
from ra3.recorder import Recorder
from ra3.rows import Rows
from ra3.sampler import expert_rows


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
        pi = imitate(recorder, start, rows, config, em_round)
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
    """The documents with latents sampled from q."""
    compute = partial(annotate, q, pi, documents, config.midtrain, config.update, config.run.seed, em_round)
    return Rows(**recorder.once(f"annotate-{em_round}", lambda: asdict(compute())))


def imitate(recorder: Recorder, start: Policy, rows: Rows, config: Config, em_round: int) -> Policy:
    """M-step: next-token prediction on the rows, from a copy of `start`."""
    job = MStepJob(rows, config.midtrain.mstep, config.update, config.run.seed, em_round)
    return trained_once(recorder, f"mstep-{em_round}", start, lambda: mstep(recorder, start.snapshot(), job))


def trained_once(recorder: Recorder, stage: str, like: Policy, train: Callable[[], Policy]) -> Policy:
    """The policy that `train` makes, or the one that an earlier attempt saved; `like` has its architecture."""
    weights = recorder.once(stage, lambda: {"model": train().model.state_dict()})["model"]
    policy = like.snapshot()
    policy.model.load_state_dict(weights)
    return policy
