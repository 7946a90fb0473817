"""RA3 behind a round in which pi learns what its own comments are worth, for models that these mislead.

    round 0   max_pi sum_t log pi(a_t | s_t) + sum_{t,g} log pi(z_tg, a_{t:t+H} | s_t),   z_tg ~ pi(. | s_t, think)
    later     RA3

A model that has read people's comments takes every comment for true, and its own, which do not see the lines that
follow, are wrong more often than right. While pi is frozen and trusts them, an E-step can only learn to say nothing. In
the first round many comments hang on each document, as branches of H lines that share what is before them: from these
pi learns what a comment says of the lines that follow. Nothing is selected; of a model that is consistent with itself
this would change nothing. Ours.
"""

from ra3.em.methods.ra3 import ra3
from ra3.em.round import EMRound
from ra3.model.policy import Policy


def branches(em: EMRound) -> Policy:
    """Imitates the text with branches in the first round, and is RA3 from then on."""
    if em.em_round == 0:
        return em.m_step(em.annotate(em.pi, latents="branches"))
    return ra3(em)
