"""RA3 with importance-weighted latents (IWAE, arXiv 1509.00519): a group of latents is judged as a group.

    log p(a | s) >= E_q log 1/G sum_g w_g,   w_g = exp( sum_t log pi(a_t | s_t, z_t^g) - c * 1[think] )

    E-step   A_g = log mean_h w_h - log mean_{h != g} w_h     (VIMCO, arXiv 1602.06725; `iwae` in ra3/rl/advantages.py)
    M-step   one of G latents, drawn with probability w_g / sum_h w_h

One right latent in the group is enough, so a wrong one costs little: meant against Jensen's gap, by which a wrong
latent costs RA3 more than none. Ours: in the E-step the weights are formed at every boundary from its return over the
horizon, not from the whole document; a comment's tokens are compared with those who thought there, as RA3's are
(`comment_baseline`); c is RA3's, with its growth; a comment that is not closed costs `format_penalty` in w_g, too.
"""

from ra3.em.round import EMRound
from ra3.model.policy import Policy


def iwae(em: EMRound) -> Policy:
    """RA3 under the importance-weighted bound."""
    em = em.with_settings(advantage="iwae")
    return em.m_step(em.annotate(em.e_step(), latents="resample"))
