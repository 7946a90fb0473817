"""Text for the page: everything that comes from a file is escaped here, hostile characters are made visible."""

from __future__ import annotations

import html
import math
import re

from ra3.run.display import is_share

# Control characters, direction overrides, invisible joiners, lone surrogates: shown by their number.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
OTHERS = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8")
"""Colours of systems that are none of the demo's."""
LABELS = {"base": "base", "ntp": "NTP", "ra3": "RA3", "rlvr": "RLVR"}


def esc(value: object) -> str:
    """Any value as harmless HTML text, also inside a quoted attribute."""
    return html.escape(HIDDEN.sub(lambda hit: f"\\u{ord(hit[0]):04x}", str(value)), quote=True)


def label(name: str) -> str:
    """A system's name for people, not yet escaped: "ra3+rlvr" -> "RA3 + RLVR"."""
    return " + ".join(LABELS.get(part, part) for part in name.split("+"))


def value_text(value: float) -> str:
    """A number in few digits with a true minus sign; nan and infinities by name."""
    return (f"{value:.4g}" if math.isfinite(value) else str(value)).replace("-", "\u2212")


def score_text(metric: str, value: float) -> str:
    """A share in percent with one decimal, other metrics in few digits."""
    return f"{100 * value:.1f}" if is_share(metric) and math.isfinite(value) else value_text(value)


def is_after_rlvr(name: str) -> bool:
    """Whether a system's name says that RLVR came after its mid-training."""
    return name.endswith("+rlvr")


def family(name: str) -> str:
    """Which colour a system has: base, ntp, ra3, or "" for any other."""
    first = re.split(r"[^a-z0-9]", name.lower())[0]
    return first if first in ("base", "ntp", "ra3") else ""


def colour_names(names: list[str]) -> dict[str, str]:
    """system -> CSS variable: fixed for base, NTP and RA3, then s1, s2, ... for others in the order given."""
    others = [name for name in names if not family(name)]
    return {name: family(name) or OTHERS[others.index(name) % len(OTHERS)] for name in names}
