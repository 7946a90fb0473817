"""RA3 at single places, for models that their own comments mislead: latents stand alone, many to a document.

    E-step   max_q E_{z ~ q(. | s_t)} sum_{k=t}^{t+H-1} log pi(a_k | s_t, z)       t = the likeliest place of a document
    M-step   max_pi sum_t log pi(a_t | s_t) + sum_{t,g} log pi(z_tg, a_{t:t+H} | s_t),   z_tg ~ q(. | s_t, think)

A model that has read people's comments takes every comment for true, and its own, which do not see the lines that
follow, are wrong more often than right. While pi is frozen and trusts them, an E-step can only learn to say nothing. So
the first round has an M-step alone: many comments hang on each document, as branches of H lines that share what is
before them, and from these pi learns what a comment says of the lines that follow. Comments of its own say nothing of
them that it did not know, so these lines are not imitated but learned from what pi says of them in the document
(`ra3/em/self_distillation.py`), in a mean of their own beside that of documents. Only then an E-step has something to
choose among; it compares comments at one place, half of its rollouts think there, and nothing prices a comment but c.
What it finds is imitated, lines and all. Nothing is selected: what is written in has not seen the lines. Ours.
"""

import sys
from dataclasses import replace

from ra3.em.round import EMRound
from ra3.model.policy import Policy

THINKING = 0.5
"""Share of the rollouts at a place that think."""


def branches(em: EMRound) -> Policy:
    """Imitates the text with branches; their comments are pi's own at first, then those of the E-step's policy."""
    q = at_single_places(em).e_step() if em.em_round else em.pi
    return em.m_step(em.annotate(q, latents="branches"), distil=q is em.pi)


def at_single_places(em: EMRound) -> EMRound:
    """The round with H steps from the place of each document where pi is most inclined to think, in its place."""
    pairs, horizon = zip(em.documents, em.likeliest_places(), strict=True), em.settings.estep.horizon
    alone = replace(em, documents=[document.branch(place, horizon) for document, place in pairs])
    return alone.with_settings(think_floor=(THINKING, sys.maxsize))
