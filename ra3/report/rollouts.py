"""Rollouts as annotated code: intentions set apart, each token's advantage as its background, details on hover.

The first and the last recorded step of a stage stand side by side; of each, the best and the worst sample of one group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ra3.report.view import value_text
from ra3.run.inspect import RecordedRollout, RecordedToken, StageRollouts

LEVELS = 8
"""Shades on each side of zero; the style sheet has as many."""
MAX_TOKENS = 1200
"""Tokens of one rollout that are shown."""
WRITTEN = ("decision", "latent", "sampled")
"""Roles of tokens that the policy wrote."""


@dataclass(frozen=True)
class TokenView:
    """A token as it is drawn."""

    text: str
    classes: str
    """CSS classes: the role, and p1..p8 for credit or n1..n8 for blame."""
    hover: str = ""
    shades_line_end: bool = False
    """The text ends in a line end, left out here, that gets a sign to carry its shade: it has no ink of its own."""


@dataclass(frozen=True)
class RolloutView:
    """A rollout as it is drawn."""

    caption: str
    verdict: str | None
    blocks: list[tuple[bool, list[TokenView]]]
    """Runs of tokens in order, and whether they are an intention that the policy wrote."""
    left_out: int
    """Tokens beyond MAX_TOKENS."""


@dataclass(frozen=True)
class StageView:
    """A stage's early and late rollouts, each with its place; late is empty while there is one step only."""

    title: str
    scale: str
    """The advantage with the strongest shade."""
    sides: list[tuple[str, list[RolloutView]]]


def stage_view(title: str, pair: StageRollouts) -> StageView:
    """Best and worst of one group early and late; the same document on both sides if it was drawn twice."""
    early, late = _by_document(pair.first), _by_document(pair.last)
    document = next((name for name in early if name in late), None)
    shown = [_best_and_worst(side.get(document) or next(iter(side.values()), [])) for side in (early, late)]
    scale = _scale([*shown[0], *shown[1]])
    places = [f"{when}: round {r}, step {s}" for when, (r, s) in (("Early", pair.first_step), ("Late", pair.last_step))]
    sides = [(place, [_rollout(r, scale) for r in own]) for place, own in zip(places, shown, strict=True)]
    return StageView(title, value_text(scale), sides if shown[1] else sides[:1])


def _by_document(rollouts: Sequence[RecordedRollout]) -> dict[str | None, list[RecordedRollout]]:
    found: dict[str | None, list[RecordedRollout]] = {}
    for rollout in rollouts:
        if rollout.tokens:
            found.setdefault(rollout.document, []).append(rollout)
    return found


def _best_and_worst(group: list[RecordedRollout]) -> list[RecordedRollout]:
    """The sample with the highest and the one with the lowest reward; one if they are alike."""
    ranked = sorted(group, key=lambda rollout: -rollout.reward if math.isfinite(rollout.reward) else math.inf)
    alike = not ranked or ranked[0].reward == ranked[-1].reward
    return ranked[:1] if alike else [ranked[0], ranked[-1]]


def _scale(rollouts: Sequence[RecordedRollout]) -> float:
    """The 95th percentile of the advantages' sizes, so that no outlier pales the rest."""
    sizes = sorted(abs(a) for rollout in rollouts for token in rollout.tokens if (a := _advantage(token)))
    return sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))] if sizes else 1.0


def _rollout(rollout: RecordedRollout, scale: float) -> RolloutView:
    caption = f"{rollout.document} \u00b7 sample {rollout.sample} \u00b7 reward {value_text(rollout.reward)}"
    blocks: list[tuple[bool, list[TokenView]]] = [(False, [])]
    in_intention, line_start = False, True
    for token in rollout.tokens[:MAX_TOKENS]:
        opens = line_start and token.role in WRITTEN and token.text.lstrip().startswith(("#", rollout.opener))
        if opens and not in_intention:
            in_intention = True
            blocks.append((True, []))
        blocks[-1][1].append(_token(token, scale))
        line_start = token.text.endswith("\n") or (line_start and not token.text.strip())
        if in_intention and "\n" in token.text:
            in_intention = False
            blocks.append((False, []))
    return RolloutView(caption, rollout.verdict, blocks, max(0, len(rollout.tokens) - MAX_TOKENS))


def _token(token: RecordedToken, scale: float) -> TokenView:
    if token.role == "context":
        return TokenView(token.text, "context")
    role = token.role if token.role in ("expert", *WRITTEN) else "expert"
    advantage = _advantage(token)
    hover = [role]
    hover += [f"log-prob {value_text(token.logp)}"] if math.isfinite(token.logp) else []
    hover += [f"advantage {value_text(advantage)}"] if advantage else []
    classes = [role] if role != "sampled" else []
    if advantage:
        level = min(LEVELS, max(1, math.ceil(LEVELS * abs(advantage) / scale)))
        classes.append(f"{'p' if advantage > 0 else 'n'}{level}")
    shades_line_end = bool(advantage) and token.text.endswith("\n")
    text = token.text[:-1] if shades_line_end else token.text
    return TokenView(text, " ".join(classes), " \u00b7 ".join(hover), shades_line_end)


def _advantage(token: RecordedToken) -> float:
    return token.advantage if math.isfinite(token.advantage) else 0.0
