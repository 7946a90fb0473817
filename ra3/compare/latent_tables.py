"""Tables of the intentions: when a model thinks, and whether the intentions are real."""

from __future__ import annotations

from collections.abc import Sequence

from ra3.compare.aggregate import by_system, over_seeds
from ra3.compare.results import Record
from ra3.compare.table import Table, shown

THINKS = "think_rate_by_chain"
HELDOUT = {
    "think_rate": "thinks",
    "boundary_f1": "boundary F1",
    "comments_right": "comments right",
    "swap_changes_code": "swapped: code changes",
    "delete_changes_code": "deleted: code changes",
    "latent_information_share": "information on the operation",
    "duration": "steps per intention (tau)",
    "discount_per_intention": "implied discount",
}


def chain_table(cells: Sequence[Record]) -> Table:
    """Embedded world: selective thinking by chain length."""
    lengths = sorted({x for cell in cells for x in cell["curves"].get(THINKS, {})})
    body = [
        (shown(name), *(over_seeds(own, lambda c, x=x: c["curves"].get(THINKS, {}).get(x)) for x in lengths))
        for name, own in by_system(cells).items()
        if lengths
    ]
    intro = (
        "Share of answers that open with an intention, by the chain of references that the problem needs; median over "
    )
    head = ("system", *(f"length {x:g}" for x in lengths))
    return Table("When it thinks", f"{intro}seeds and range.", head, body)


def heldout_table(cells: Sequence[Record]) -> Table:
    """Whether the intentions are real: what they are like on held-out text."""
    names = [name for name in HELDOUT if any(name in cell["heldout"] for cell in cells)]
    body = [
        (name, *(over_seeds(own, lambda c, n=n: c["heldout"].get(n)) for n in names))
        for name, own in by_system(cells).items()
        if any(cell["heldout"] for cell in own)
    ]
    head = ("mid-training", *(HELDOUT[name] for name in names))
    return Table("Are the intentions real", "On held-out text; median over seeds and range.", head, body)
