"""The page's first sentences, computed from the results: who solves how much, and whether that is more than chance."""

from __future__ import annotations

import math

from ra3.report.folder import System, View, in_order
from ra3.report.text import is_after_rlvr, label, score_text, value_text
from ra3.run.metrics import number

METRIC = "pass@1"
SMOOTH = 5
NOTHING = "Nothing has been measured yet."
NO_HEADLINE = "The results are in the table below."
NO_TABLE = "There are no evaluation results in this folder yet, so there is no table to show."


def headline(view: View) -> tuple[str, str]:
    """(main sentence, what to think of it); plain text, not yet escaped."""
    band = main_band(view.rows)
    if band is None:
        return _progress(view)
    scores = {row["model"]: row for row in view.rows if row["metric"] == METRIC and row["band"] == band}
    before = [name for name in in_order(scores) if not is_after_rlvr(name)]
    after = [name for name in in_order(scores) if is_after_rlvr(name)]
    parts = []
    if before:
        parts.append(_solved(before, scores, f"On {band} problems", " solves"))
    if after:
        opening = "after the same RLVR:" if before else f"After RLVR, on {band} problems,"
        parts.append(_solved(after, scores, opening, "" if before else " solves"))
    verdicts = [_verdict(view, band, scores, a, b) for a, b in (("ra3", "ntp"), ("ra3+rlvr", "ntp+rlvr"))]
    return "; ".join(parts) + ".", " ".join(verdict for verdict in [*verdicts, _speed(view)] if verdict)


def main_band(rows: list[dict]) -> str | None:
    """The band the headline speaks of: edge if there is one, else the first with a pass@1."""
    bands = list(dict.fromkeys(row["band"] for row in rows if row["metric"] == METRIC))
    return "edge" if "edge" in bands else (bands[0] if bands else None)


def _solved(names: list[str], scores: dict[str, dict], opening: str, verb: str) -> str:
    """`On edge problems RA3 solves 61.3% at the first try, NTP 48.0% and base 35.2%`, best first."""
    names = sorted(names, key=lambda name: -scores[name]["mean"])
    shares = [f"{score_text(METRIC, scores[name]['mean'])}%" for name in names]
    first = f"{opening} {_method(names[0])}{verb} {shares[0]}{' at the first try' if verb else ''}"
    others = [f"{_method(name)} {share}" for name, share in zip(names[1:], shares[1:], strict=True)]
    return (
        " and ".join([", ".join([first, *others[:-1]]), *others[-1:]])
        if len(others) > 1
        else ", ".join([first, *others])
    )


def _method(name: str) -> str:
    """How a system is called where the sentence says already that this is after RLVR."""
    return label(name.removesuffix("+rlvr"))


def _verdict(view: View, band: str, scores: dict[str, dict], a: str, b: str) -> str:
    """Is a - b more than chance? By the paired difference if the results have it, else by the two intervals."""
    if a not in scores or b not in scores:
        return ""
    gap = 100 * (scores[a]["mean"] - scores[b]["mean"])
    when = "After RLVR, " if is_after_rlvr(a) else ""
    opening = f"{when}{_method(a)} \u2212 {_method(b)} = {_signed(gap)} points"
    for row in view.differences:
        if (row["a"], row["b"], row["band"], row["metric"]) == (a, b, band, METRIC):
            low, high = 100 * row["low"], 100 * row["high"]
            word = "more than chance explains" if low > 0 or high < 0 else "chance alone could explain it"
            return f"{opening}, paired 95% interval {_signed(low)} to {_signed(high)}: {word}."
    apart = scores[a]["low"] > scores[b]["high"] or scores[a]["high"] < scores[b]["low"]
    return f"{opening}; the two 95% intervals {'do not overlap' if apart else 'overlap: one run does not settle it'}."


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\u2212")


def _speed(view: View) -> str:
    """How soon RLVR from RA3 reaches the pass rate at which RLVR from NTP ends; both smoothed over neighbours."""
    courses = {system.name: _pass_rates(system) for system in view.systems}
    ra3, ntp = courses.get("ra3+rlvr", []), courses.get("ntp+rlvr", [])
    if min(len(ra3), len(ntp)) < 2 * SMOOTH:
        return ""
    final = ntp[-1]
    reached = next((i + 1 for i, rate in enumerate(ra3) if rate >= final), None)
    opening = f"RLVR from RA3 {'reached' if reached else 'did not reach'} the final pass rate of RLVR from NTP"
    return f"{opening} ({final:.0%}) {f'after {reached} of {len(ntp)}' if reached else f'in {len(ra3)}'} updates."


def _pass_rates(system: System) -> list[float]:
    """Mean over the SMOOTH latest updates, at each update (fewer at the start)."""
    rates = [number(line.get("pass_rate")) for line in system.metrics.get("rlvr", [])]
    rates = [rate for rate in rates if math.isfinite(rate)]
    return [sum(window) / len(window) for i in range(len(rates)) if (window := rates[max(0, i + 1 - SMOOTH) : i + 1])]


def _progress(view: View) -> tuple[str, str]:
    """No pass@1 yet: what the metrics say so far."""
    sentences = [sentence for system in view.systems for sentence in _so_far(system)]
    first, *others = [*sentences, *_heldout(view)] or [NO_HEADLINE if view.rows else NOTHING]
    return first, " ".join([*others, *([] if view.rows else [NO_TABLE])])


def _heldout(view: View) -> list[str]:
    """What held-out text says, where that has been measured."""
    metric = "nll_per_token_given_latents"
    found = {row["model"]: row["mean"] for row in view.rows if row["metric"] == metric}
    scores = [f"{label(name)} {value_text(found[name])}" for name in in_order(found)]
    opening = "Held-out cross-entropy, nats per expert token with the intentions each model writes"
    return [f"{opening}: {', '.join(scores)}."] if scores else []


def _so_far(system: System) -> list[str]:
    told = (
        ("estep", "elbo", "the E-step has moved the ELBO"),
        ("mstep", "expert_nll", "the M-step has moved the expert cross-entropy"),
        ("rlvr", "pass_rate", "RLVR has moved the pass rate"),
    )
    found = []
    for stage, key, words in told:
        numbers = [number(line.get(key)) for line in system.metrics.get(stage, [])]
        numbers = [value for value in numbers if math.isfinite(value)]
        if numbers:
            move = f"from {value_text(numbers[0])} to {value_text(numbers[-1])} in {len(numbers)} updates"
            found.append(f"{label(system.name)}: {words} {move}.")
    return found
