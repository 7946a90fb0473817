"""BRiTE (arXiv 2501.18858), one-shot form: one latent for a whole document, judged by all the text after it.

    E-step   max_q E_{z ~ q(. | x)} log pi(y | x, z)          x = the text up to the latent, y = all after it
    M-step   max_pi log pi(z, y | x),   z ~ q

It always thinks, once, so nothing prices a switch. Ours: BRiTE's data are pairs (x, y) with x given; an expert's
document is cut into x and y at the boundary where the model is most inclined to open a comment; all of it is learned in
the M-step. BRiTE's q may also look at y, ours may not. BRiTE's bound also has log pi(z | x) and the entropy of q; here,
as in RA3's E-step, q starts from pi each round and nothing else holds it. An unclosed comment costs `format_penalty`.
"""

import sys
from dataclasses import replace

from ra3.em.methods.ra3 import ra3
from ra3.em.round import EMRound
from ra3.model.policy import Policy


def brite(em: EMRound) -> Policy:
    """RA3 with one forced latent per document, which answers for everything after it and costs nothing."""
    pairs = zip(em.documents, em.likeliest_places(), strict=True)
    em = replace(em, documents=[document.thinking_only_at(place) for document, place in pairs])
    return ra3(em.always_thinking(horizon=sys.maxsize, gamma=1.0))
