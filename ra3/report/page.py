"""Run folder in, one HTML page out: no script, nothing fetched, every text escaped by the templates.

`render` also makes the pages of others: a template that extends `page.html` and uses the parts in `macros.html`.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ra3.config.settings import flatten
from ra3.report.code import file_views
from ra3.report.plots import learning_curves, result_curves
from ra3.report.view import View, is_after_rlvr, read_view, stage_view, value_text
from ra3.run.files import disk_errors, write_atomic
from ra3.run.inspect import InspectedRun, read_rollouts
from ra3.run.ledger import cost_table, duration, total
from ra3.run.metrics import GLOSSARY, Alarms, Meaning
from ra3.run.results import AnnotatedCode, Cell, Score, Table, in_order, label, number_text, result_tables

TEMPLATES = Path(__file__).parent / "templates"
# Control characters, direction overrides, invisible joiners, lone surrogates: shown by their number.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
MAX_ROLLOUT_CHARACTERS = 800_000
MAX_CODE_CHARACTERS = 5_000_000
METRIC, SMOOTH = "pass@1", 5
Systems = list[tuple[str, InspectedRun]]
COURSES = (
    ("estep", "elbo", "the E-step has moved the ELBO"),
    ("mstep", "expert_nll", "the M-step has moved the expert cross-entropy"),
    ("rlvr", "pass_rate", "RLVR has moved the pass rate"),
)


def write_report(folder: str | Path) -> Path:
    """Writes `report.html` into a run folder, or into a folder of run folders, which it then compares. What is missing
    or broken there becomes a sentence. UserError if there is no run."""
    view = read_view(Path(folder))
    path = view.folder / "report.html"
    with disk_errors(view.folder, "write the report"):
        write_atomic(path, report_page(view).encode("utf-8"))
    return path


def render(template: Path, **values: Any) -> str:
    """A page as text. The template may use those of this package; values are escaped, and hidden characters shown."""
    return _templates(template.parent).get_template(template.name).render({"troubles": [], "colours": {}, **values})


def _templates(folder: Path) -> Environment:
    templates = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    with_minus_sign = lambda text: re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)  # noqa: E731
    templates.filters |= {"label": label, "minus": with_minus_sign, "shell": shlex.join}
    templates.tests["startingwith"] = str.startswith
    return templates


def _visible(value: object) -> object:
    """Markup as it is, everything else as text with its hidden characters shown by their number."""
    return value if isinstance(value, Markup) else HIDDEN.sub(lambda hit: f"\\u{ord(hit[0]):04x}", str(value))


def report_page(view: View) -> str:
    """The report as text."""
    title, verdict = headline(view)
    systems, results = view.systems, view.results
    points = [point for curve in results.curves.values() for point in curve]
    rollouts, left_out = _rollouts(systems)
    files, files_left_out = _files(results.codes, view.colours)
    environments, alarms = {}, []  # what each run ran on, by dotted key; what its metrics would have raised
    for name, run in systems:
        own, lines = Alarms(run.settings.get("run.dtype")), [line for lines in run.stages.values() for line in lines]
        alarms += [(name, line.step, text) for line in lines for text in own.check(line.stage, line.values)]
        alarms += [(name, None, f"{c.id}: {c.unjudged} without a verdict, pass@k is a bound from below")
                   for c in run.results.problems if c.unjudged]  # fmt: skip
        facts = flatten({key: value for key, value in run.environment.items() if key not in ("earlier", "argv")})
        environments[name] = {**dict(facts), "attempts": len(run.facts.attempts)}
    return render(
        TEMPLATES / "report.html",
        kind="report", title=view.title, troubles=view.troubles, colours=view.colours, systems=systems,
        headline=title, verdict=verdict,
        tables=result_tables(results.scores), measured=in_order(point.model for point in points),
        chain_plots=result_curves(view, by_k=False), reach_plots=result_curves(view, by_k=True),
        files=files, files_left_out=files_left_out, written=_written_table(results.codes),
        latents={name: own for name, run in systems if (own := run.results.latents)},
        trained=[name for name, run in systems if run.stages], learning_plots=learning_curves(view),
        alarms=alarms, rollouts=rollouts, left_out=left_out, runs=_runs_table(view),
        costs={name: cost_table(run.costs) for name, run in systems if run.costs},
        glossary=_glossary(systems), environments=environments,
    )  # fmt: skip


def _rollouts(systems: Systems) -> tuple[list[Markup], int]:
    """(stages with their rollouts as markup, how many were left out because the page would be too large)."""
    stages = (
        stage_view(f"{label(name)}: {stage}", steps)
        for name, run in systems for stage, steps in read_rollouts(run.folder).items()
    )  # fmt: skip
    draw = _macro("rollouts.html", "stage")
    return _fitting((draw(stage, n == 0) for n, stage in enumerate(stages)), MAX_ROLLOUT_CHARACTERS)


def _files(codes: Sequence[AnnotatedCode], colours: Mapping[str, str]) -> tuple[list[Markup], int]:
    """(held-out documents as markup, how many were left out because the page would be too large)."""
    draw = _macro("codes.html", "file")
    return _fitting((draw(file, colours, n == 0) for n, file in enumerate(file_views(codes))), MAX_CODE_CHARACTERS)


def _macro(template: str, name: str) -> Callable[..., Markup]:
    return getattr(_templates(TEMPLATES).get_template(template).module, name)


def _fitting(drawn: Iterable[Markup], limit: int) -> tuple[list[Markup], int]:
    """(those that have at most `limit` characters together, how many others there are)."""
    kept, size, left_out = [], 0, 0
    for markup in drawn:
        if size + len(markup) > limit:
            left_out += 1
        else:
            kept.append(markup)
            size += len(markup)
    return kept, left_out


def _written_table(codes: Sequence[AnnotatedCode]) -> Table:
    """One row for each model: how much it wrote into held-out documents, and what that saves."""
    rows = []
    for name in in_order(code.model for code in codes):
        own = [code for code in codes if code.model == name]
        count, bits = sum(len(code.latents) for code in own), [gain for code in own for gain in code.gains]
        counts = [f"{number:,}" for number in (len(own), sum(bool(code.latents) for code in own), count)]
        each = Cell(f"{fmean(bits):+.2f}") if bits else "\u2013"
        rows.append((Cell(model=name), *counts, each))
    return Table("", ("model", "documents", "written into", "intentions", "bits each"), rows)


def _runs_table(view: View) -> Table:
    """One row for each system: what it did and what it cost. A run that has not ended says how to go on."""
    rows = []
    for name, run in view.systems:
        spent = total(run.costs)
        stages = ", ".join(f"{stage} ({len(lines)})" for stage, lines in run.stages.items())
        amounts = [duration(spent.wall_s), f"{spent.generated:,.0f}", f"{spent.trained:,.0f}"]
        cells = [text if text not in ("", "0ms", "0") else "\u2013" for text in (stages, *amounts)]
        evaluated = run.results.scores or any(score.model == name for score in view.results.scores)
        done = [word for word, true in (("model saved", run.has_model), ("evaluated", evaluated)) if true]
        go_on = f"; go on with {run.facts.resume}" if run.facts.resume else ""
        rows.append((Cell(model=name), *cells, ", ".join(done) or f"not finished{go_on}"))
    return Table("Runs", ("run", "stages (updates)", "wall time", "tokens generated", "tokens trained", "state"), rows)


def _glossary(systems: Systems) -> list[tuple[str, Meaning, list[tuple[str, str, str]]]]:
    """(metric, its meaning, last value of each system and stage) for every metric of these runs."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for name, run in systems:
        for stage, lines in run.stages.items():
            last = {key: value for line in lines for key, value in line.values.items()}
            for key, value in last.items():
                found.setdefault(key, []).append((name, stage, value_text(value)))
    unknown = Meaning("(not in the glossary)", "", "")
    return [(key, GLOSSARY.get(key, unknown), found[key]) for key in in_order(sorted(found), list(GLOSSARY))]


def headline(view: View) -> tuple[str, str]:
    """(main sentence: who solves how much, what to think of it: whether that is more than chance), computed from the
    results; plain text, not yet escaped."""
    bands = list(dict.fromkeys(score.band for score in view.results.scores if score.metric == METRIC))
    if not bands:
        first = "Nothing has been measured yet."
        rest = "There are no evaluation results in this folder yet, so there is no table to show."
        if view.results.scores:
            first, rest = "The results are in the table below.", ""
        first, *told = [*_progress(view)] or [first]
        return first, " ".join(filter(None, [*told, rest]))
    band = "edge" if "edge" in bands else bands[0]
    scores = {s.model: s for s in view.results.scores if s.metric == METRIC and s.band == band}
    before, after = ([name for name in scores if is_after_rlvr(name) == late] for late in (False, True))
    parts = [_solved(before, scores, f"On {band} problems", " solves")] if before else []
    if after and before:
        parts.append(_solved(after, scores, "after the same RLVR:", ""))
    elif after:
        parts.append(_solved(after, scores, f"After RLVR, on {band} problems,", " solves"))
    verdicts = [_verdict(view, scores, a, b) for a, b in (("ra3", "ntp"), ("ra3+rlvr", "ntp+rlvr"))]
    return "; ".join(parts) + ".", " ".join(filter(None, [*verdicts, _speed(view)]))


def _solved(names: Sequence[str], scores: Mapping[str, Score], opening: str, verb: str) -> str:
    """`On edge problems RA3 solves 61.3% at the first try, NTP 48.0% and base 35.2%`, best first."""
    names = sorted(in_order(names), key=lambda name: -scores[name].mean)
    verbs = {names[0]: verb}
    shares = [f"{_method(n)}{verbs.get(n, '')} {number_text(METRIC, scores[n].mean)}%" for n in names]
    *others, last = f"{opening} {shares[0]}{' at the first try' if verb else ''}", *shares[1:]
    return f"{', '.join(others)}{' and ' if len(others) > 1 else ', '}{last}" if others else last


def _method(name: str) -> str:
    """Names a system where the sentence says already that this is after RLVR."""
    return label(name.removesuffix("+rlvr"))


def _verdict(view: View, scores: Mapping[str, Score], a: str, b: str) -> str:
    """Is a - b more than chance? By the paired difference if the results have it, else by the two intervals."""
    if a not in scores or b not in scores:
        return ""
    one, two = scores[a], scores[b]
    points = lambda difference: f"{100 * difference:+.1f}".replace("-", "\u2212")  # noqa: E731
    opening = "After RLVR, " if is_after_rlvr(a) else ""
    opening += f"{_method(a)} \u2212 {_method(b)} = {points(one.mean - two.mean)} points"
    for gap in view.results.differences:
        if (gap.a, gap.b, gap.band, gap.metric) == (a, b, one.band, METRIC):
            word = "more than chance explains" if gap.low > 0 or gap.high < 0 else "chance alone could explain it"
            return f"{opening}, paired 95% interval {points(gap.low)} to {points(gap.high)}: {word}."
    apart = one.low > two.high or one.high < two.low
    return f"{opening}; the two 95% intervals {'do not overlap' if apart else 'overlap: one run does not settle it'}."


def _speed(view: View) -> str:
    """Says how soon RLVR from RA3 reaches the pass rate at which RLVR from NTP ends; both smoothed over neighbours."""
    smooth = {}
    for name, run in view.systems:
        rates = _course(run, "rlvr", "pass_rate")
        smooth[name] = [fmean(rates[max(0, i + 1 - SMOOTH) : i + 1]) for i in range(len(rates))]
    ra3, ntp = smooth.get("ra3+rlvr", []), smooth.get("ntp+rlvr", [])
    if min(len(ra3), len(ntp)) < 2 * SMOOTH:
        return ""
    reached = next((i + 1 for i, rate in enumerate(ra3) if rate >= ntp[-1]), None)
    opening = f"RLVR from RA3 {'reached' if reached else 'did not reach'} the final pass rate of RLVR from NTP"
    return f"{opening} ({ntp[-1]:.0%}) {f'after {reached} of {len(ntp)}' if reached else f'in {len(ra3)}'} updates."


def _course(run: InspectedRun, stage: str, key: str) -> list[float]:
    values = [line.values.get(key, math.nan) for line in run.stages.get(stage, ())]
    return [value for value in values if math.isfinite(value)]


def _progress(view: View) -> Iterator[str]:
    """Says what the metrics and measures on held-out text show so far, while there is no pass@1."""
    for name, run in view.systems:
        for stage, key, words in COURSES:
            if values := _course(run, stage, key):
                move = f"from {value_text(values[0])} to {value_text(values[-1])} in {len(values)} updates"
                yield f"{label(name)}: {words} {move}."
    found = {s.model: s.mean for s in view.results.scores if s.metric == "nll_per_token_given_latents"}
    if found:
        scores = ", ".join(f"{label(name)} {value_text(found[name])}" for name in in_order(found))
        yield f"Held-out cross-entropy, nats per expert token with the intentions each model writes: {scores}."
