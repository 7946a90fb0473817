"""Best-of-G bootstrapping: no reinforcement, only selection (STaR, arXiv 2203.14465; RAFT, arXiv 2304.06767).

    z_1..z_G ~ pi(. | s),   z* = argmax_g sum_t [ log pi(a_t | s_t, z_t^g) - c * 1[think] ],   max_pi log pi(a, z* | s)

STaR keeps a rationale if the answer is right; here the best of G under RA3's own reward is kept. What this gains over
NTP needs no E-step; what RA3 gains over this does.
"""

from ra3.em.round import EMRound
from ra3.model.policy import Policy


def bootstrap(em: EMRound) -> Policy:
    """Writes in the best of G latents that pi itself samples, and imitates the text."""
    return em.m_step(em.annotate(em.pi, latents="best"))
