"""BRiTE (arXiv 2501.18858), one-shot form: one latent for a whole document, judged by all the text after it.

    E-step   max_q E_{z ~ q(. | x)} log pi(y | x, z)          x = the text up to the latent, y = all after it
    M-step   max_pi log pi(z, y | x),   z ~ q

It always thinks, once, so nothing prices a switch. Ours: BRiTE's data are pairs (x, y) with x given; an expert's
document is cut into x and y at the boundary where the model is most inclined to open a comment; all of it is learned in
the M-step. BRiTE's q may also look at y, ours may not. BRiTE's bound also has log pi(z | x) and the entropy of q; here,
as in RA3's E-step, q starts from pi in every round and nothing else holds it there. A comment that is not closed costs
`format_penalty`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from ra3.data.latents import EncodedDocument
from ra3.em.methods.one_thought import always_thinking, only_at
from ra3.em.round import Method, Round
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rl.rewards import step_sums
from ra3.rollout.interleave import expert_rows
from ra3.rows import DECISION, Rows


def likeliest_places(pi: Policy, documents: Sequence[EncodedDocument], max_tokens: int) -> list[int]:
    """For each document the boundary of the largest P("#"); the first, where all are equal."""
    rows = expert_rows(pi, documents, decisions=True)
    decisions = rows.act & (rows.space == DECISION)
    log_act = score(pi, rows, decisions, max_tokens).logp_act * decisions
    return step_sums(log_act, rows.seg, rows.num_steps).argmin(1).tolist()


def one_shot(this: Round) -> Round:
    """The round with one forced latent per document, which answers for everything after it and costs nothing.

    Places are found once; a stage of the E-step's, so that the ledger counts them.
    """
    budget = this.config.update.micro_batch_tokens
    found = this.recorder.once(
        f"estep-{this.em_round}.places", lambda: {"places": likeliest_places(this.pi, this.documents, budget)}
    )
    documents = [only_at(document, place) for document, place in zip(this.documents, found["places"], strict=True)]
    return always_thinking(replace(this, documents=documents), horizon=sys.maxsize, gamma=1.0)


def discover(this: Round) -> Policy:
    """E-step with one decision per document."""
    return one_shot(this).discover()


def write_in(this: Round, q: Policy) -> Rows:
    """Every document with one latent from q."""
    return one_shot(this).write_in(q)


BRITE = Method(discover, write_in)
