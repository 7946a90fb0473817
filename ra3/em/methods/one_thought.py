"""What methods with one forced latent for each document share: where it may stand, and that nothing prices it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from ra3.data.latents import EncodedDocument
from ra3.em.round import EMRound


def only_at(document: EncodedDocument, place: int) -> EncodedDocument:
    """The document with `place` as the only boundary at which the policy may think."""
    return replace(document, may_think=tuple(may and t == place for t, may in enumerate(document.may_think)))


def always_thinking(em: EMRound, horizon: int, **own: Any) -> EMRound:
    """The round with a latent at every boundary that allows one, for nothing, judged by the `horizon` steps after it.

    `own`: more settings of the E-step that are part of the method. A comment that is not closed still costs
    `format_penalty`.
    """
    free, forced = {"switch_penalty": 0.0, "exact_prior": None}, {"think_floor": (1.0, sys.maxsize)}
    return em.with_settings(**{**free, **forced, "horizon": horizon, **own})
