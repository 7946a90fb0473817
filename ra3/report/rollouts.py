"""Rollouts as annotated code: intentions set apart, each token's advantage as its background, details on hover.

The first and the last recorded step of a stage stand side by side; of each, the best and the worst sample of one group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ra3.report.folder import EarlyLate, View
from ra3.report.text import esc, label, value_text
from ra3.run.metrics import number

LEVELS = 8  # shades on each side of zero
MAX_TOKENS = 1200  # of one rollout
MAX_BYTES = 800_000  # of all rollouts together
ROLES = {"context", "expert", "decision", "latent", "sampled"}


def rollouts_section(view: View) -> str:
    """Every stage of every system that recorded rollouts; the first is open, the others are folded."""
    parts, size, left_out = [], 0, 0
    for system in view.systems:
        for stage, pair in system.rollouts.items():
            part = _stage(f"{label(system.name)}: {stage}", pair, is_open=not parts)
            if size + len(part) > MAX_BYTES:
                left_out += 1
                continue
            parts.append(part)
            size += len(part)
    if not parts and not left_out:
        return '<p class="plain">No rollouts have been recorded in this folder.</p>'
    note = f'<p class="plain">{left_out} more stages are in rollouts.jsonl.</p>' if left_out else ""
    return "".join(parts) + note


def _stage(title: str, pair: EarlyLate, is_open: bool) -> str:
    early, late = _pair(pair)
    scale = _scale([*early, *late])
    columns = _column(f"Early: {_place(pair.first_step)}", early, scale)
    columns += _column(f"Late: {_place(pair.last_step)}", late, scale) if late else ""
    alone = "" if late else '<p class="plain">Only one step has been recorded so far.</p>'
    return (
        f"<details class='stage'{' open' if is_open else ''}><summary>{esc(title)}</summary>{_legend(scale)}{alone}"
        f'<div class="sides">{columns}</div></details>'
    )


def _pair(pair: EarlyLate) -> tuple[list[dict], list[dict]]:
    """Best and worst of one group early and late; the same document on both sides if it was drawn twice."""
    groups = _groups(pair.early), _groups(pair.late)
    shared = [key for key in groups[0] if key in groups[1]]
    picked = [group[shared[0]] if shared else next(iter(group.values()), []) for group in groups]
    return _extremes(picked[0]), _extremes(picked[1])


def _groups(records: Iterable[dict]) -> dict[str, list[dict]]:
    """document -> its rollouts, those with tokens only."""
    found: dict[str, list[dict]] = {}
    for record in records:
        if isinstance(record.get("tokens"), list) and record["tokens"]:
            found.setdefault(str(record.get("document", "?")), []).append(record)
    return found


def _extremes(group: list[dict]) -> list[dict]:
    """The sample with the highest and the one with the lowest reward; one if they are alike."""
    rewards = [number(record.get("reward")) for record in group]
    ranked = sorted(range(len(group)), key=lambda i: -rewards[i] if math.isfinite(rewards[i]) else math.inf)
    if len(group) > 1 and rewards[ranked[0]] != rewards[ranked[-1]]:
        return [group[ranked[0]], group[ranked[-1]]]
    return [group[i] for i in ranked[:1]]


def _scale(records: list[dict]) -> float:
    """The advantage with the strongest shade: the 95th percentile of the sizes, so that no outlier pales the rest."""
    sizes = sorted(abs(a) for record in records for token in record["tokens"] if (a := _advantage(token)))
    return sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))] if sizes else 1.0


def _column(title: str, records: list[dict], scale: float) -> str:
    return f'<div class="side"><h4>{esc(title)}</h4>{"".join(_rollout(record, scale) for record in records)}</div>'


def _rollout(record: dict, scale: float) -> str:
    facts = [str(record.get("document", "?")), f"sample {record.get('sample', '?')}"]
    facts.append(f"reward {value_text(number(record.get('reward')))}")
    caption = " \u00b7 ".join(facts)
    verdict = record.get("verdict")
    badge = f'<span class="badge {"good" if verdict == "passed" else "bad"}">{esc(verdict)}</span>' if verdict else ""
    return (
        f"<figure><figcaption>{esc(caption)}{badge}</figcaption>"
        f'<pre class="code" dir="ltr">{_tokens(record["tokens"], scale, str(record.get("opener", "#")))}</pre></figure>'
    )


def _tokens(tokens: list, scale: float, opener: str) -> str:
    """Tokens as spans; a comment, or a line with the opener, that the policy wrote is wrapped in a block of its own."""
    parts, in_intention, line_start = [], False, True
    shown = [token for token in tokens[:MAX_TOKENS] if isinstance(token, dict)]
    for token in shown:
        text, role = str(token.get("text", "")), _role(token)
        if (
            line_start
            and not in_intention
            and role in ("decision", "latent", "sampled")
            and text.lstrip().startswith(("#", opener))
        ):
            parts.append('<span class="intention">')
            in_intention = True
        parts.append(_token(token, text, role, scale))
        line_start = text.endswith("\n") or (line_start and not text.strip())
        if in_intention and "\n" in text:
            parts.append("</span>")
            in_intention = False
    more = len(tokens) - MAX_TOKENS
    return "".join(parts) + ("</span>" if in_intention else "") + (f"\n\u2026 {more:,} more tokens" if more > 0 else "")


def _token(token: dict, text: str, role: str, scale: float) -> str:
    advantage, logp = _advantage(token), number(token.get("logp"))
    if role == "context":
        return f'<span class="context">{esc(text)}</span>'
    hover = [role]
    if math.isfinite(logp):
        hover.append(f"log-prob {value_text(logp)}")
    if advantage:
        hover.append(f"advantage {value_text(advantage)}")
    shade = _shade(advantage, scale)
    title = " \u00b7 ".join(hover)
    kind = " ".join(name for name in (role if role != "sampled" else "", shade) if name)
    body = esc(text)
    if shade and text.endswith("\n"):  # a line end has no ink of its own: give its shade something to stand on
        body = f'{esc(text[:-1])}<i class="end">\u21b5</i>\n'
    return f'<span class="{kind}" title="{esc(title)}">{body}</span>'


def _shade(advantage: float, scale: float) -> str:
    """p1..p8 for credit, n1..n8 for blame, "" for none."""
    if not advantage:
        return ""
    level = min(LEVELS, max(1, math.ceil(LEVELS * abs(advantage) / scale)))
    return f"{'p' if advantage > 0 else 'n'}{level}"


def _advantage(token: object) -> float:
    """The advantage, 0 where there is none."""
    value = number(token.get("advantage")) if isinstance(token, dict) else 0.0
    return value if math.isfinite(value) else 0.0


def _role(token: dict) -> str:
    role = token.get("role")
    return role if isinstance(role, str) and role in ROLES else "expert"


def _place(step: tuple[int, int]) -> str:
    return f"round {step[0]}, step {step[1]}"


def _legend(scale: float) -> str:
    steps = [f"n{i}" for i in range(LEVELS, 0, -1)] + [f"p{i}" for i in range(1, LEVELS + 1)]
    shades = "".join(f'<span class="{step}"></span>' for step in steps)
    return (
        f'<div class="legend">advantage <b>\u2212{value_text(scale)}</b><span class="ramp">{shades}</span>'
        f"<b>+{value_text(scale)}</b> <span class='key intention'># an intention of the policy</span> "
        '<span class="key context">context</span> <span class="key expert">expert code</span> '
        '<span class="key act">act</span> chose not to think</div>'
    )
