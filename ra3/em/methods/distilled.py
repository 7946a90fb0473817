"""Distilled comments: next-token prediction on text whose intentions an author who knows has written. A ceiling.

    max_pi sum_t log pi(a_t, z*_t | s_t),   z*_t = the true intention where one belongs, else act

Here the author is an embedded world's generator; any other corpus has no `truth`, and the method refuses it. (The RA3
paper's "comments distilled from a larger model" are imitations of such an author.) `midtrain.mstep.latent_dropout`
leaves out true intentions as it does found ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.data.latents import EncodedDocument
from ra3.em.round import Method, Round, keep
from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.rollout.cursor import forced_steps
from ra3.rows import RowBuilder, Rows, build
from ra3.worlds import WORLDS


def true_rows(policy: Policy, documents: Sequence[EncodedDocument], wanted: Sequence[bool]) -> Rows:
    """One row per document; those that are `wanted` carry their true intentions.

    UserError where a document has no truth, or one that fits no boundary (steps that are not lines).
    """
    builders = []
    for i, (document, commented) in enumerate(zip(documents, wanted, strict=True)):
        latents = true_latents(policy, document) if commented else {}
        row = RowBuilder.start(i, [policy.start_id, *document.context_ids])
        for t, step in enumerate(forced_steps(document, policy.end_id)):
            latent = latents.get(t, [])
            row.force(latent, t, [0.0] * len(latent), expert=False)
            row.force(step, t, [0.0] * len(step))
        builders.append(row)
    return build(builders)


def true_latents(policy: Policy, document: EncodedDocument) -> dict[int, list[int]]:
    """Ids of the true intentions by the step that they stand before."""
    truth = document.document.truth
    if truth is None or not all(document.may_think[t] for t in truth.boundaries):
        raise UserError(
            "this method writes true intentions in, and the document has none, or none that fits its steps",
            where=f"{document.document.id}, midtrain.method",
            allowed=" or ".join(f"corpus.path = {name} with corpus.steps = {w.steps}" for name, w in WORLDS.items()),
            fix='for text that is commented already, midtrain.method = "ntp" is the same method',
        )
    return dict(zip(truth.boundaries, policy.syntax.latent_ids(policy.tokenizer, truth.comments), strict=True))


def write_truth(this: Round, q: Policy) -> Rows:
    """Every document with its true intentions."""
    return true_rows(q, this.documents, [True] * len(this.documents))


DISTILLED = Method(discover=keep, write_in=write_truth)
