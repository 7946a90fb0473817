"""Mixed SFT (arXiv 2608.23256): text without and text with thoughts in one stage of next-token prediction.

    max_pi  1/2 E_{x plain} [log pi(x)] + 1/2 E_{x commented} [log pi(x, z*)]

There the thoughts are another data set's; here every second document, drawn by the seed, carries its true intentions
and the others are plain, so that it sees the very documents that the other methods see.
"""

from __future__ import annotations

from ra3.data.order import permutation
from ra3.em.methods.distilled import true_rows
from ra3.em.round import Method, Round, keep
from ra3.model.policy import Policy
from ra3.rows import Rows
from ra3.seeds import derive


def write_half(this: Round, q: Policy) -> Rows:
    """Half of the documents with their true intentions, another half in each round."""
    seed = derive(this.config.run.seed, "mixed")
    order = permutation(len(this.documents), seed, 0)
    half = {n for place, n in enumerate(order) if place % 2 == this.em_round % 2}
    return true_rows(q, this.documents, [n in half for n in range(len(this.documents))])


MIXED = Method(discover=keep, write_in=write_half)
