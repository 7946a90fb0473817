"""The tables of docs/methods.md, made of the docstrings of ra3/rl/methods and of docs/evidence in their place:

.venv/bin/python tests/methods_page.py
"""

import inspect
import re
import sys
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import mean

from evidence import AFTER, all_bands, sheet

from ra3.measure.statistics import Interval, student_t
from ra3.rl.methods import KINDS
from ra3.rl.reference import AnswerQuestions
from ra3.rl.solve import SolveProblems

PAGE = Path(__file__).parent.parent / "docs/methods.md"
BEGIN, END = "<!-- tables: tests/methods_page.py -->\n", "<!-- end of tables -->\n"
BEGIN_RESULTS, END_RESULTS = "<!-- results: tests/methods_page.py -->\n", "<!-- end of results -->\n"
HEAD = "\n### {}\n\n| Method | Equation | Ours | Replaces |\n|---|---|---|---|\n"
SEAMS = "items", "rollout", "reward", "advantage", "select"
TITLE = re.compile(r"(.+?) \((?:.+, )?arXiv (\d{4}\.\d{5})\)")


def row(kind: type[SolveProblems]) -> str:
    """The row of a method."""
    module = sys.modules[kind.__module__]
    title, equation, *text = inspect.cleandoc(module.__doc__ or "").split("\n\n")
    what = TITLE.sub(r"[\1](https://arxiv.org/abs/\2)", title.replace("\n", " "), count=1)
    lines = [f"`{' '.join(line.split())}`" for line in equation.splitlines() if line.strip()]
    ours = " ".join(text).replace("\n", " ").partition("Ours: ")[2] or "-"
    name = f"`{kind.__module__.rpartition('.')[2]}`"
    cells = name, what, "<br>".join(lines), ours, ", ".join(replaced(kind))
    return "| {}: {} | {} | {} | {} |\n".format(*(cell.replace("|", "∣") for cell in cells))


def replaced(kind: type[SolveProblems]) -> list[str]:
    """The seams of the loop at which a method stands."""
    own = [each for each in kind.__mro__ if each not in AnswerQuestions.__mro__]
    found = [seam for seam in SEAMS if any(seam in vars(each) for each in own)]
    changes_loss = any("replace(self.loss" in inspect.getsource(each) for each in own)
    return found + ["loss"] * changes_loss + ["start"] * (not found and not changes_loss)


STARTS = {"base": "base", "ntp": "NTP", "ra3": "RA3"}
RIVAL = "policy_gradient"
OTHER_BUDGETS = f"{RIVAL}, 8 steps", f"{RIVAL}, 32 steps"
"""What the rival reaches at half of its FLOPs and at twice as many."""
Cell = tuple[float, float]
"""pass@1 in percent, mean over the bands; FLOPs of RLVR (the base: none)."""


def cells(start: str) -> dict[str, dict[int, Cell]]:
    """System -> seed -> its cell, of the comparison from one start."""
    return {
        system.removesuffix(AFTER): {seed: (all_bands(own), own.get("flops", 0.0)) for seed, own in by_seed.items()}
        for system, by_seed in sheet(f"rlvr-methods-{start}").items()
    }


def reached(flops: float, curve: list[Cell]) -> float:
    """What the rival reaches at `flops`: straight lines through its cells over log FLOPs, level outside them."""
    curve = sorted(curve, key=lambda cell: cell[1])
    for (low, from_), (high, to) in pairwise(curve):
        if from_ <= flops <= to:
            return low + (high - low) * log(flops / from_) / log(to / from_)
    return curve[0][0] if flops < curve[0][1] else curve[-1][0]


def gaps(own: dict[int, Cell], all_: dict[str, dict[int, Cell]]) -> tuple[list[float], list[float]]:
    """Points ahead of the rival seed by seed: after as many steps, and at as many FLOPs."""
    curves = {seed: [all_[name][seed] for name in (RIVAL, *OTHER_BUDGETS)] for seed in own}
    equal = [score - reached(flops, curves[seed]) for seed, (score, flops) in own.items()]
    return [score - all_[RIVAL][seed][0] for seed, (score, _) in own.items()], equal


def text(found: Interval) -> str:
    """"+1.2 [-0.3, 2.7]", in bold if 0 is outside."""
    words = f"{found.mean:+.1f} [{found.low:.1f}, {found.high:.1f}]"
    return f"**{words}**" if found.low * found.high > 0 else words


def results_table() -> str:
    """The base and every variant, best first by all cells together."""
    by_start = {start: cells(start) for start in STARTS}
    lines = []
    for name in by_start["base"]:
        if name == RIVAL:
            continue
        found = {start: gaps(all_[name], all_) for start, all_ in by_start.items()}
        both = [student_t([gap for own in found.values() for gap in own[side]]) for side in (0, 1)]
        costs = [all_[name][seed][1] / all_[RIVAL][seed][1] for all_ in by_start.values() for seed in all_[name]]
        starts = [text(student_t(own[0])) for own in found.values()]
        parts = [f"`{name}`", *starts, text(both[0]), text(both[1]) if name != "base" else "", f"{mean(costs):.2f}"]
        lines.append((both[0].mean, "| " + " | ".join(parts) + " |\n"))
    heads = ["", *(f"from {word}" for word in STARTS.values()), "all nine", "all nine, equal FLOPs", "FLOPs"]
    rule = "|---" * len(heads) + "|\n"
    return "| " + " | ".join(heads) + " |\n" + rule + "".join(line for _, line in sorted(lines, reverse=True))


def replace_between(page: str, begin: str, made: str, end: str) -> str:
    """The page with other text between two marks."""
    before, _, rest = page.partition(begin)
    return before + begin + made + "\n" + end + rest.partition(end)[2]


def methods_page(page: str) -> str:
    """The page with its tables made again."""
    tables = "".join(HEAD.format(name) + "".join(map(row, kinds)) for name, kinds in KINDS.items())
    page = replace_between(page, BEGIN, tables, END)
    return replace_between(page, BEGIN_RESULTS, results_table(), END_RESULTS)


if __name__ == "__main__":
    PAGE.write_text(methods_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
