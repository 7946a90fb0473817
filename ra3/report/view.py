"""What the report shows, as records: the runs of a folder with their results, and their rollouts as annotated code."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from ra3.errors import UserError
from ra3.run.folder import refuse_missing, refuse_other_format
from ra3.run.inspect import MARKS, InspectedRun, RecordedRollout, RecordedToken, StageRollouts, inspect_run, is_run
from ra3.run.results import Results, in_order

OTHERS = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8")
"""CSS variables of the colours of models that are none of the demo's."""
LEVELS = 8
"""Shades of advantage on each side of zero; the style sheet has as many."""
MAX_TOKENS = 1200
"""Tokens of one rollout that are shown."""
WRITTEN = ("decision", "latent", "sampled")
"""Roles of tokens that the policy wrote."""


@dataclass(frozen=True)
class View:
    """Everything the page shows."""

    title: str
    folder: Path
    systems: list[tuple[str, InspectedRun]]  # ("ra3+rlvr", the run in runs/demo/ra3-rlvr): named as in the results
    results: Results  # of all runs; every score, difference and point of a curve once
    troubles: list[str]  # sentences about what could not be read
    colours: dict[str, str]  # model -> CSS variable, for every system and every model in the results


@dataclass(frozen=True)
class TokenView:
    """A token of a rollout as it is drawn."""

    text: str
    classes: str  # CSS: the role, and p1..p8 for credit or n1..n8 for blame
    hover: str = ""
    shades_line_end: bool = False  # it ends in a line end, left out here, for which a sign carries the shade


@dataclass(frozen=True)
class RolloutView:
    """A rollout as it is drawn."""

    caption: str
    verdict: str | None
    context: str  # what was read before the first token that is drawn
    blocks: list[tuple[bool, list[TokenView]]]  # runs of tokens; whether they are an intention that the policy wrote
    left_out: int  # tokens beyond MAX_TOKENS


@dataclass(frozen=True)
class StageView:
    """A stage's early and late rollouts, each with its place; no late ones while there is one step only."""

    title: str
    scale: str  # the advantage with the strongest shade
    sides: list[tuple[str, list[RolloutView]]]


def read_view(folder: Path) -> View:
    """Reads `folder`, a run or a folder of runs; UserError if there is none in it, or one of another format."""
    refuse_missing(folder)
    names = {path: system_name(path.name) for path in sorted(folder.iterdir()) if path.is_dir() and is_run(path)}
    inner = sorted(names, key=lambda path: in_order(names.values()).index(names[path]))
    if not inner and not is_run(folder):
        what = f"this folder holds no run: none of {', '.join(MARKS)} is there"
        raise UserError(what, where=str(folder), fix="name a run folder, or a folder of run folders")
    for path in (folder, *inner):
        refuse_other_format(path)
    runs = [inspect_run(path) for path in ([folder] if is_run(folder) else []) + inner]  # the outer folder's word first
    shown = [run for run in runs if run.folder != folder or run.stages or not inner]
    systems = [(names.get(run.folder) or _lone_name(run), run) for run in shown]
    results = _unique_results(run.results for run in runs)
    measured = [*results.scores, *results.codes, *(point for points in results.curves.values() for point in points)]
    models = [*(name for name, _ in systems), *(record.model for record in measured)]
    troubles = [f"{run.folder.resolve().name}/{trouble}" for run in runs for trouble in run.troubles]
    return View(folder.resolve().name, folder, systems, results, troubles, colour_names(in_order(models)))


def system_name(folder_name: str) -> str:
    """The name that results use: "ra3-rlvr" -> "ra3+rlvr"."""
    return re.sub(r"[-+]rlvr$", "+rlvr", folder_name)


def value_text(value: float) -> str:
    """A number in few digits with a true minus sign."""
    return f"{value:.4g}".replace("-", "\u2212")


def is_after_rlvr(model: str) -> bool:
    """Whether a model's name says that RLVR came after its mid-training."""
    return model.endswith("+rlvr")


def colour_names(models: Iterable[str]) -> dict[str, str]:
    """model -> CSS variable: one each for base, NTP and RA3, then s1, s2, ... for others in the order given."""
    families = {model: re.split(r"[^a-z0-9]", model.lower())[0] for model in models}
    known = {model: family for model, family in families.items() if family in ("base", "ntp", "ra3")}
    others = [model for model in families if model not in known]
    return known | {model: OTHERS[place % len(OTHERS)] for place, model in enumerate(others)}


def _lone_name(run: InspectedRun) -> str:
    """A mid-training is called by its method, so that it has its method's colour; another run by its folder."""
    method = run.settings.get("midtrain.method")
    midtrained = run.facts.command == "midtrain" or "mstep" in run.stages
    return str(method) if method and midtrained else system_name(run.folder.resolve().name)


def _unique_results(parts: Iterable[Results]) -> Results:
    """The results together, the first record of each kind that has its numbers; curves from left to right."""
    whole = Results.merge(parts)
    scores = _first_of_each(whole.scores, "model", "band", "metric")
    differences = _first_of_each(whole.differences, "a", "b", "band", "metric")
    curves = {name: _first_of_each(own, "model", "x") for name, own in whole.curves.items()}
    curves = {name: sorted(own, key=lambda point: point.x) for name, own in curves.items() if own}
    codes = list({(code.model, code.document): code for code in reversed(whole.codes)}.values())[::-1]
    return replace(whole, scores=scores, differences=differences, curves=curves, codes=codes)


def _first_of_each(records: Iterable[Any], *names: str) -> list[Any]:
    """The first of the records that are alike in the fields of these names; none whose place or mean is no number."""
    first = {}
    for record in records:
        if math.isfinite(record.mean) and math.isfinite(getattr(record, "x", 0.0)):
            first.setdefault(tuple(getattr(record, name) for name in names), record)
    return list(first.values())


def stage_view(title: str, steps: StageRollouts) -> StageView:
    """Best and worst of one group early and late; the same document on both sides if it was drawn twice."""
    documents = [list(dict.fromkeys(r.document for r in own if r.tokens)) for own in steps.values()]
    both = [name for name in documents[0] if name in documents[-1]]
    shown = []
    for own, names in zip(steps.values(), documents, strict=True):
        document = (both or names or [""])[0]
        group = [r for r in own if r.tokens and r.document == document]
        group.sort(key=lambda rollout: -rollout.reward if math.isfinite(rollout.reward) else math.inf)
        alike = not group or group[0].reward == group[-1].reward
        shown.append(group[:1] if alike else [group[0], group[-1]])
    sizes = sorted(abs(token.advantage) for own in shown for r in own for token in r.tokens if token.advantage)
    scale = sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))] if sizes else 1.0  # so that no outlier pales the rest
    sides = [
        (f"{when}: round {em_round}, step {step}", [_rollout_view(rollout, scale) for rollout in own])
        for when, (em_round, step), own in zip(("Early", "Late"), steps, shown, strict=False)
    ]
    return StageView(title, value_text(scale), sides)


def _rollout_view(rollout: RecordedRollout, scale: float) -> RolloutView:
    caption = f"{rollout.document} \u00b7 sample {rollout.sample} \u00b7 reward {value_text(rollout.reward)}"
    blocks: list[tuple[bool, list[TokenView]]] = [(False, [])]
    tokens = rollout.tokens[:MAX_TOKENS]
    context = "".join(token.text for token in takewhile(lambda token: token.role == "context", tokens))
    line_start = not context.rpartition("\n")[2].strip()
    for token in dropwhile(lambda token: token.role == "context", tokens):
        opens = line_start and token.role in WRITTEN and token.text.lstrip().startswith(("#", rollout.opener))
        if opens and not blocks[-1][0]:
            blocks.append((True, []))
        blocks[-1][1].append(_token_view(token, scale))
        _, newline, line = token.text.rpartition("\n")
        line_start = not line.strip() and (line_start or bool(newline))
        if blocks[-1][0] and "\n" in token.text:
            blocks.append((False, []))
    return RolloutView(caption, rollout.verdict, context, blocks, max(0, len(rollout.tokens) - MAX_TOKENS))


def _token_view(token: RecordedToken, scale: float) -> TokenView:
    if token.role == "context":
        return TokenView(token.text, "context")
    role = token.role if token.role in WRITTEN else "expert"
    hover, classes = [role], [role] if role != "sampled" else []
    if math.isfinite(token.logp):
        hover.append(f"log-prob {value_text(token.logp)}")
    if token.advantage:
        hover.append(f"advantage {value_text(token.advantage)}")
        level = min(LEVELS, max(1, math.ceil(LEVELS * abs(token.advantage) / scale)))
        classes.append(f"{'p' if token.advantage > 0 else 'n'}{level}")
    shades_line_end = bool(token.advantage) and token.text.endswith("\n")
    text = token.text[:-1] if shades_line_end else token.text
    return TokenView(text, " ".join(classes), " \u00b7 ".join(hover), shades_line_end)
