"""BRiTE (arXiv 2501.18858), one-shot form: one latent for a whole document, judged by all the text after it.

    E-step   max_q E_{z ~ q(. | x)} log pi(y | x, z)          x = the text up to the latent, y = all after it
    M-step   max_pi log pi(z, y | x),   z ~ q

It always thinks, once, so nothing prices a switch. Ours: BRiTE's data are pairs (x, y) with x given; an expert's
document is cut into x and y at the boundary where the model is most inclined to open a comment; all of it is learned in
the M-step. BRiTE's q may also look at y, ours may not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from ra3.em_round import Method, Round
from ra3.interleave import expert_rows
from ra3.latents import EncodedDocument
from ra3.policy import Policy
from ra3.rewards import step_sums
from ra3.rows import DECISION, Rows
from ra3.update import score


def only_at(document: EncodedDocument, place: int) -> EncodedDocument:
    """The document with `place` as the only boundary at which the policy may think."""
    return replace(document, may_think=tuple(may and t == place for t, may in enumerate(document.may_think)))


def one_place(pi: Policy, documents: Sequence[EncodedDocument], max_tokens: int) -> list[EncodedDocument]:
    """The documents with the boundary of the largest P("#") as their only one; the first, where all are equal."""
    rows = expert_rows(pi, documents, decisions=True)
    decisions = rows.act & (rows.space == DECISION)
    log_act = score(pi, rows, decisions, max_tokens).logp_act * decisions
    places = step_sums(log_act, rows.seg, rows.num_steps).argmin(1).tolist()
    return [only_at(document, place) for document, place in zip(documents, places, strict=True)]


def one_shot(this: Round) -> Round:
    """The round with one forced latent per document, which answers for everything after it and costs nothing."""
    documents = one_place(this.pi, this.documents, this.config.update.micro_batch_tokens)
    free = {"switch_penalty": 0.0, "alpha": None, "latent_vocab": None, "horizon": sys.maxsize, "gamma": 1.0}
    forced = {"think_floor": 1.0, "floor_updates": sys.maxsize, "target_think_rate": None}
    return replace(this, documents=documents).changed(estep={**free, **forced})


def discover(this: Round) -> Policy:
    """E-step with one decision per document."""
    return one_shot(this).discover()


def write_in(this: Round, q: Policy) -> Rows:
    """Every document with one latent from q."""
    return one_shot(this).write_in(q)


BRITE = Method(discover, write_in)
