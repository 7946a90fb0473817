"""Mid-training: the EM loop of RA3 (arXiv 2509.25810), or another method in its place.

for each EM round:
    E-step       q  <- RL on the latents, starting from pi; reward = log pi(expert step | latents) - c * 1[think]
    annotate     z  ~  q for every document
    M-step       pi <- next-token prediction on the documents with z written in

Plain next-token prediction (NTP) is the limit c = inf.
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.config.settings import MidtrainSettings, UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.em.methods import METHODS
from ra3.em.round import EMRound
from ra3.model.policy import Policy
from ra3.run.recorder import Recorder


def midtrain(
    recorder: Recorder, pi: Policy, documents: Sequence[EncodedDocument], settings: MidtrainSettings,
    update: UpdateSettings, seed: int,
) -> Policy:  # fmt: skip
    """Mid-trains a copy of `pi` on `documents` and returns it. Every act is done once, also after a restart."""
    method = METHODS[settings.method]
    for em_round in range(settings.em_rounds):
        pi = method(EMRound(recorder, pi, documents, settings, update, seed, em_round))
    return pi
