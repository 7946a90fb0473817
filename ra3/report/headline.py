"""The page's first sentences, computed from the results: who solves how much, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ra3.report.view import System, View, is_after_rlvr, value_text
from ra3.run.results import Score, in_order, label, number_text

METRIC = "pass@1"
SMOOTH = 5
NOTHING = "Nothing has been measured yet."
NO_HEADLINE = "The results are in the table below."
NO_TABLE = "There are no evaluation results in this folder yet, so there is no table to show."


def headline(view: View) -> tuple[str, str]:
    """(main sentence, what to think of it); plain text, not yet escaped."""
    bands = list(dict.fromkeys(score.band for score in view.results.scores if score.metric == METRIC))
    if not bands:
        return _progress(view)
    band = "edge" if "edge" in bands else bands[0]
    scores = {s.model: s for s in view.results.scores if s.metric == METRIC and s.band == band}
    before = [name for name in scores if not is_after_rlvr(name)]
    after = [name for name in scores if is_after_rlvr(name)]
    parts = []
    if before:
        parts.append(_solved(before, scores, f"On {band} problems", " solves"))
    if after:
        opening = "after the same RLVR:" if before else f"After RLVR, on {band} problems,"
        parts.append(_solved(after, scores, opening, "" if before else " solves"))
    verdicts = [_verdict(view, scores, a, b) for a, b in (("ra3", "ntp"), ("ra3+rlvr", "ntp+rlvr"))]
    return "; ".join(parts) + ".", " ".join(verdict for verdict in [*verdicts, _speed(view)] if verdict)


def _solved(names: Sequence[str], scores: Mapping[str, Score], opening: str, verb: str) -> str:
    """`On edge problems RA3 solves 61.3% at the first try, NTP 48.0% and base 35.2%`, best first."""
    names = sorted(in_order(names), key=lambda name: -scores[name].mean)
    shares = [f"{number_text(METRIC, scores[name].mean)}%" for name in names]
    first = f"{opening} {_method(names[0])}{verb} {shares[0]}{' at the first try' if verb else ''}"
    *others, last = [first, *(f"{_method(name)} {share}" for name, share in zip(names[1:], shares[1:], strict=True))]
    return f"{', '.join(others)}{' and ' if len(others) > 1 else ', '}{last}" if others else last


def _method(name: str) -> str:
    """Names a system where the sentence says already that this is after RLVR."""
    return label(name.removesuffix("+rlvr"))


def _verdict(view: View, scores: Mapping[str, Score], a: str, b: str) -> str:
    """Is a - b more than chance? By the paired difference if the results have it, else by the two intervals."""
    if a not in scores or b not in scores:
        return ""
    one, two = scores[a], scores[b]
    opening = f"{_method(a)} \u2212 {_method(b)} = {_points(one.mean - two.mean)} points"
    opening = f"After RLVR, {opening}" if is_after_rlvr(a) else opening
    for gap in view.results.differences:
        if (gap.a, gap.b, gap.band, gap.metric) == (a, b, one.band, METRIC):
            word = "more than chance explains" if gap.low > 0 or gap.high < 0 else "chance alone could explain it"
            return f"{opening}, paired 95% interval {_points(gap.low)} to {_points(gap.high)}: {word}."
    apart = one.low > two.high or one.high < two.low
    return f"{opening}; the two 95% intervals {'do not overlap' if apart else 'overlap: one run does not settle it'}."


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def _speed(view: View) -> str:
    """Says how soon RLVR from RA3 reaches the pass rate at which RLVR from NTP ends; both smoothed over neighbours."""
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
    rates = _course(system, "rlvr", "pass_rate")
    return [sum(window) / len(window) for i in range(len(rates)) if (window := rates[max(0, i + 1 - SMOOTH) : i + 1])]


def _course(system: System, stage: str, key: str) -> list[float]:
    values = [line.values.get(key, math.nan) for line in system.stages.get(stage, ())]
    return [value for value in values if math.isfinite(value)]


def _progress(view: View) -> tuple[str, str]:
    """Says what the metrics show so far, while there is no pass@1."""
    first, *others = [*_so_far(view), *_heldout(view)] or [NO_HEADLINE if view.results.scores else NOTHING]
    return first, " ".join([*others, *([] if view.results.scores else [NO_TABLE])])


def _so_far(view: View) -> Iterator[str]:
    told = (
        ("estep", "elbo", "the E-step has moved the ELBO"),
        ("mstep", "expert_nll", "the M-step has moved the expert cross-entropy"),
        ("rlvr", "pass_rate", "RLVR has moved the pass rate"),
    )
    for system in view.systems:
        for stage, key, words in told:
            if values := _course(system, stage, key):
                move = f"from {value_text(values[0])} to {value_text(values[-1])} in {len(values)} updates"
                yield f"{label(system.name)}: {words} {move}."


def _heldout(view: View) -> Iterator[str]:
    """Compares the models on held-out text, where that has been measured."""
    found = {s.model: s.mean for s in view.results.scores if s.metric == "nll_per_token_given_latents"}
    if found:
        scores = ", ".join(f"{label(name)} {value_text(found[name])}" for name in in_order(found))
        yield f"Held-out cross-entropy, nats per expert token with the intentions each model writes: {scores}."
