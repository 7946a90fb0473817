"""Mixed SFT (arXiv 2608.23256): text without and text with thoughts in one stage of next-token prediction.

    max_pi  1/2 E_{x plain} [log pi(x)] + 1/2 E_{x commented} [log pi(x, z*)]

There the thoughts are another data set's; here every second document, drawn by the seed, carries its true latents and
the others are plain, so that it sees the very documents that the other methods see. Another half in each round.
"""

from ra3.em.methods.distilled import with_true_latents
from ra3.em.round import EMRound
from ra3.model.policy import Policy
from ra3.seeds import derive, permutation


def mixed(em: EMRound) -> Policy:
    """Imitates the text, half of it with its true latents."""
    order = permutation(len(em.documents), derive(em.seed, "mixed"), 0)
    half = {n for place, n in enumerate(order) if place % 2 == em.em_round % 2}
    return em.m_step(with_true_latents(em, half))
