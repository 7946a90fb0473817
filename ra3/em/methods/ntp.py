"""Next-token prediction, the baseline: RA3 with c = inf.

max_pi sum_t log pi(a_t | s_t)
"""

from ra3.em.round import EMRound
from ra3.model.policy import Policy


def ntp(em: EMRound) -> Policy:
    """Imitates the text as it is."""
    return em.m_step(em.plain())
