"""Mid-training: the EM loop of RA3 (arXiv 2509.25810), in which other methods put other things in its three places.

for each EM round:
    E-step       q  <- RL on the latents, starting from pi; reward = log pi(expert step | latents) - c * 1[think]
    annotate     z  ~  q for every document
    M-step       pi <- next-token prediction on the documents with z written in

Plain next-token prediction (NTP) is the limit c = inf.
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.config.tree import Config
from ra3.data.latents import EncodedDocument
from ra3.em.methods import METHODS
from ra3.em.round import Round
from ra3.model.policy import Policy
from ra3.run.recorder import Recorder


def midtrain(recorder: Recorder, policy: Policy, documents: Sequence[EncodedDocument], config: Config) -> Policy:
    """Mid-trains a copy of `policy` on `documents` and returns it. Every line is done once, also after a restart."""
    method, pi = METHODS[config.midtrain.method], policy
    for em_round in range(config.midtrain.em_rounds):
        this = Round(recorder, pi, documents, config, em_round)
        q = method.discover(this)
        pi = this.imitate(q, method.write_in(this, q)) if method.write_in else q
    return pi
