"""Distilled comments: next-token prediction on text whose latents an author who knows has written. A ceiling.

    max_pi sum_t log pi(a_t, z*_t | s_t),   z*_t = the true latent where one belongs, else act

Here the author is an embedded world's generator; any other corpus has no `truth`, and the method refuses it. (The RA3
paper's "comments distilled from a larger model" are imitations of such an author.) `midtrain.mstep.latent_dropout`
leaves out true latents as it does found ones.
"""

from __future__ import annotations

from collections.abc import Collection

from ra3.data.latents import EncodedDocument
from ra3.em.round import AnnotatedText, EMRound
from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.rollout.interleave import expert_rows
from ra3.worlds import WORLDS


def distilled(em: EMRound) -> Policy:
    """Imitates the text with its true latents."""
    return em.m_step(with_true_latents(em, range(len(em.documents))))


def with_true_latents(em: EMRound, which: Collection[int]) -> AnnotatedText:
    """The documents, those numbered in `which` with their true latents.

    UserError where such a document has no truth, or one that fits no boundary (steps that are not lines).
    """
    latents = [true_latents(em.pi, document) if i in which else {} for i, document in enumerate(em.documents)]
    return AnnotatedText(expert_rows(em.pi, em.documents, latents=latents), em.pi)


def true_latents(policy: Policy, document: EncodedDocument) -> dict[int, list[int]]:
    """Ids of the true latents by the step that they stand before."""
    truth = document.document.truth
    openings = [document.openings[t] for t in truth.boundaries] if truth else []
    if truth is None or not all(openings):
        raise UserError(
            "this method writes true latents in, and the document has none, or none that fits its steps",
            where=f"{document.id}, midtrain.method",
            allowed=" or ".join(f"corpus.path = {name} with corpus.steps = {w.steps}" for name, w in WORLDS.items()),
            fix='for text that is commented already, midtrain.method = "ntp" is the same method',
        )
    own = zip(truth.boundaries, truth.comments, openings, strict=True)
    return {t: policy.syntax.latent_ids(comment, opening) for t, comment, opening in own if opening}
