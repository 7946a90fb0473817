"""RA3 (arXiv 2509.25810): reinforcement finds where intentions pay, next-token prediction learns to write them.

E-step   max_q E_q sum_t [ log pi(a_t | s_t, z_t) - c * 1[z_t is new] ]
M-step   max_pi sum_t log pi(a_t, z_t | s_t),   z ~ q
"""

from ra3.em.round import Method, Round

RA3 = Method(discover=Round.discover, write_in=Round.write_in)
