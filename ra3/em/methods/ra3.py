"""RA3 (arXiv 2509.25810): reinforcement finds where latents pay, next-token prediction learns to write them.

E-step   max_q E_q sum_t [ log pi(a_t | s_t, z_t) - c * 1[z_t is new] ]
M-step   max_pi sum_t log pi(a_t, z_t | s_t),   z ~ q
"""

from ra3.em.round import EMRound
from ra3.model.policy import Policy


def ra3(em: EMRound) -> Policy:
    """Finds latents, writes them in, imitates the text."""
    return em.m_step(em.annotate(em.e_step()))
