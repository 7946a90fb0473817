"""RLP (arXiv 2510.01265): a thought is paid what it adds to the likelihood of what comes next. No M-step.

    r_g = log p_theta(a_t | s_t, z_g) - log p_ema(a_t | s_t)        one forced thought at one random place of a document
    A_g = G / (G - 1) (r_g - mean_h r_h) = r_g - mean_{h != g} r_h

The clipped surrogate is taken on the tokens of the thought alone. The no-think baseline p_ema is the same for all G
thoughts at a place, so it cancels in A_g exactly and is not computed. The policy that learns is also the judge (theta).
Ours: "what comes next" is the next expert step, not one token; an unclosed comment costs `format_penalty`.
"""

import random

from ra3.data.latents import EncodedDocument
from ra3.em.round import EMRound
from ra3.model.policy import Policy


def rlp(em: EMRound) -> Policy:
    """The model after reinforcement on single thoughts."""
    em = em.always_thinking(horizon=1, advantage="leave_one_out", comment_baseline="all")
    return em.e_step(view=one_random_place, judge="self")


def one_random_place(document: EncodedDocument, seed: int) -> EncodedDocument:
    """The document up to the step after a random boundary, where alone the policy may think."""
    places = [t for t, opening in enumerate(document.openings) if opening]
    if not places:
        return document
    t = random.Random(seed).choice(places)
    return document.upto(t + 1).thinking_only_at(t)
