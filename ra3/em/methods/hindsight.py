"""Hindsight: no reinforcement, but selection place by place, for models whose own intentions mislead them.

    z_1..z_G ~ pi(. | s_t, think),   z*_t = argmax_g gain_g where that is above c, else act      (ra3/em/by_place.py)
    max_pi sum_t log pi(a_t, z*_t | s_t)

A sampled intention does not see the lines that follow, so on natural text it costs on average (Jensen), and
reinforcement learns to say nothing before it learns what to say. Selection sees them. What is written in teaches pi
where intentions pay and what they are worth; `bootstrap` chooses among whole documents, where one wrong comment hides a
right one. Ours, from STaR (arXiv 2203.14465) and, for latents in the light of what follows, BoLT (arXiv 2503.18866).
"""

from ra3.em.round import EMRound
from ra3.model.policy import Policy


def hindsight(em: EMRound) -> Policy:
    """Writes in, at each place where one pays, the best of G comments of pi itself, and imitates the text."""
    return em.m_step(em.annotate(em.pi, latents="by_place"))
