"""The tables of docs/real-evidence.md, made of docs/evidence/real-*.csv in their place:

.venv/bin/python tests/real_evidence_page.py

A line ``<!-- table: NAME WORD ... -->`` is followed by the table that the function NAME makes of these words.
Intervals: bootstrap over problems, or Student's t over seeds where there are three or more.
"""

import csv
import re
from collections.abc import Sequence
from functools import reduce
from statistics import mean

import numpy as np
from evidence import DOCS

from ra3.measure.statistics import Interval, bootstrap, interval, paired_difference, pass_at_k, student_t

PAGE = DOCS / "real-evidence.md"
MARK = re.compile(r"<!-- table: ([\w ,+-]+?) -->\n(?:\|.*\n)*")
SEEN = 1.96 + 0.84
"""A difference of so many standard errors is told from 0 in 8 of 10 repetitions."""
Line = dict[str, str]


def lines(name: str) -> list[Line]:
    """The rows of docs/evidence/real-NAME.csv."""
    with (DOCS / f"evidence/real-{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text of a table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, ["---"] * len(heads), *rows))


def told(found: Interval, digits: int = 1, sign: str = "") -> str:
    """A mean with its interval; in bold where it is a difference that leaves out 0."""
    text = f"{found.mean:{sign}.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"**{text}**" if sign and not found.low <= 0 <= found.high else text


class Programs:
    """pass@k of each system's problems of one set."""

    def __init__(self, benchmark: str):
        self.counts: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
        """system -> seed -> problem -> (samples, passed)"""
        for line in lines("programs"):
            if line["set"] == benchmark:
                own = self.counts.setdefault(line["system"], {}).setdefault(line["seed"], {})
                own[line["problem"]] = int(line["samples"]), int(line["passed"])

    def scores(self, system: str, k: int, seeds: Sequence[str] = ()) -> np.ndarray:
        """[P] pass@k of each problem in percent, mean over these seeds, or all."""
        by_seed = [self.counts[system][seed] for seed in seeds or self.counts[system]]
        return 100 * np.mean([[pass_at_k(*by[p], k) for p in by_seed[0]] for by in by_seed], axis=0)

    def difference(self, a: str, b: str, k: int = 1) -> tuple[Interval, Interval | None, float]:
        """a - b in points of pass@k: over problems, over seeds, and the least that would be seen. Seeds are those that
        both have; the base, which has one, is compared with the mean over all of the other's."""
        own = set(self.counts[a]) & set(self.counts[b])
        shared = [] if a.startswith("base") or b.startswith("base") else sorted(own)
        pair = self.scores(a, k, shared), self.scores(b, k, shared)
        error = float(np.std(pair[0] - pair[1], ddof=1)) / len(pair[0]) ** 0.5
        gaps = [float((self.scores(a, k, [seed]) - self.scores(b, k, [seed])).mean()) for seed in shared]
        return paired_difference(*pair, 0), student_t(gaps) if len(gaps) > 2 else None, SEEN * error


def passes(benchmark: str, against: str) -> str:
    """pass@1 and pass@10 of every system, and pass@1 ahead of one."""
    found, rows = Programs(benchmark), []
    for system in found.counts:
        each = [interval(found.scores(system, k) / 100, 0) for k in (1, 10)]
        cells = [told(Interval(100 * own.mean, 100 * own.low, 100 * own.high)) for own in each]
        if system != against:
            problems, seeds, least = found.difference(system, against)
            cells += [told(problems, sign="+"), told(seeds, sign="+") if seeds else "", f"{least:.1f}"]
        rows.append([f"`{system}`", str(len(found.counts[system])), *cells, *[""] * (5 - len(cells))])
    ahead = f"pass@1 ahead of `{against}`, over problems"
    return table(["", "seeds", "pass@1", "pass@10", ahead, "over seeds", "would be seen"], rows)


def heldout() -> str:
    """What the runs themselves measured on held-out functions: means over seeds."""
    names = {
        "nll_per_token": ("nats a token", 4),
        "nll_per_token_given_latents": ("with its own latents", 4),
        "think_rate": ("think rate", 3),
        "duration": ("lines a latent", 1),
        "swap_changes_code": ("swap changes code", 2),
        "delete_changes_code": ("delete changes code", 2),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for line in lines("heldout"):
        found.setdefault(line["system"], {}).setdefault(line["measure"], []).append(float(line["mean"]))
    rows = []
    for system, own in found.items():
        cells = [several(own.get(key, ()), digits) for key, (_, digits) in names.items()]
        rows.append([f"`{system}`", str(len(own["nll_per_token"])), *cells])
    return table(["", "seeds", *(title for title, _ in names.values())], rows)


def several(values: Sequence[float], digits: int) -> str:
    """Mean over seeds, with Student's interval where there are three or more."""
    if len(values) > 2:
        return told(student_t(values), digits)
    return f"{mean(values):.{digits}f}" if values else ""


def gains(*measures: str) -> str:
    """Measures of comments, one row a model; words of a measure's name are joined by +."""
    found: dict[str, dict[str, Line]] = {}
    for line in lines("gains"):
        found.setdefault(line["system"], {})[line["measure"]] = line
    known = dict.fromkeys(line["measure"] for line in lines("gains"))
    names = [name for word in measures for name in known if name.startswith(word.replace("+", " "))]
    first = next(iter(found))
    shown = {"the first model's": f"`{first}`'s", "thinks, %": "thinks at, %", "thinks before lines: ": ""}
    heads = [reduce(lambda text, pair: text.replace(*pair), shown.items(), name) for name in names]
    rows = [[f"`{system}`", *(measured(own.get(name)) for name in names)] for system, own in found.items()]
    return table(["", *heads], rows)


def measured(line: Line | None) -> str:
    """A measure as a cell."""
    if not line:
        return ""
    if line.get("text"):
        return line["text"]
    is_bits, name = re.match("bits|bound|its bound", line["measure"]), line["measure"]
    if not line["low"]:
        return f"{float(line['mean']):.1f}"
    found = Interval(float(line["mean"]), float(line["low"]), float(line["high"]))
    return told(found, 4 if is_bits else 2, "+" if "less" in name else "") if found.low != found.high else ""


def rewards(width: str, target: str) -> str:
    """Pass rate of the first and the last steps of RLVR, means over seeds, and the first step that reaches a target."""
    found: dict[str, dict[str, list[float]]] = {}
    for line in lines("rewards"):
        found.setdefault(line["system"], {}).setdefault(line["seed"], []).append(100 * float(line["pass_rate"]))
    n, rows = int(width), []
    for system, by_seed in found.items():
        curve = np.mean([*by_seed.values()], axis=0)
        rise = bootstrap(curve[-n:] - curve[:n], 0)
        reached = next((str(step) for step, rate in enumerate(curve, 1) if rate >= float(target)), "")
        means = f"{curve[:n].mean():.1f}", f"{curve[-n:].mean():.1f}"
        rows.append([f"`{system}`", str(len(by_seed)), *means, told(rise, sign="+"), reached])
    return table(["", "seeds", f"first {n} steps", f"last {n}", "rise", f"step that reaches {target}%"], rows)


TABLES = {"passes": passes, "heldout": heldout, "gains": gains, "rewards": rewards}


def real_evidence_page(page: str) -> str:
    """The page with its tables made again."""

    def again(found: re.Match[str]) -> str:
        name, *words = found[1].split()
        return f"<!-- table: {found[1]} -->\n{TABLES[name](*words)}"

    return MARK.sub(again, page)


if __name__ == "__main__":
    PAGE.write_text(real_evidence_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
