"""The tables of docs/studies.md, made of docs/evidence in their place:

.venv/bin/python tests/studies_page.py

A line ``<!-- table: NAME, against VARIANT -->`` is followed by the table of docs/evidence/NAME.csv, a line
``<!-- beyond: NAME -->`` by that of docs/evidence/NAME.json, which is "beyond" of a comparison's results.json.
"""

import json
import re
from collections.abc import Sequence
from statistics import mean

from evidence import AFTER, BANDS, DOCS, all_bands, sheet
from methods_page import text

from ra3.measure.statistics import student_t

PAGE = DOCS / "studies.md"
MARK = re.compile(r"<!-- table: ([\w-]+), against (.+?) -->\n(?:\|.*\n)*")
BEYOND = re.compile(r"<!-- beyond: ([\w-]+) -->\n(?:\|.*\n)*")
THINKS = "answers that think"


def interval(values: Sequence[float]) -> str:
    """Mean with Student's interval over seeds: "50.0 [45.1, 54.9]"."""
    return "{:.1f} [{:.1f}, {:.1f}]".format(*student_t(values))


def study_table(name: str, against: str) -> str:
    """Each system's bands, how far it is ahead of `against` over all of them, and how many answers think."""
    all_ = sheet(name)
    thinks = all(THINKS in own for by_seed in all_.values() for own in by_seed.values())
    heads = ["", *BANDS, f"all, ahead of `{against}`", *([THINKS] if thinks else [])]
    lines = [heads, ["---"] * len(heads)]
    for system, by_seed in all_.items():
        gaps = [all_bands(own) - all_bands(all_[against][seed]) for seed, own in by_seed.items()]
        cells = [interval([100 * own[f"{band} pass@1"] for own in by_seed.values()]) for band in BANDS]
        cells += ["" if system == against else text(student_t(gaps))]
        cells += [f"{100 * mean(own[THINKS] for own in by_seed.values()):.0f}"] if thinks else []
        lines.append([f"`{system.removesuffix(AFTER)}`" + " + RLVR" * system.endswith(AFTER), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def beyond_table(name: str) -> str:
    """Problems that RLVR brought within reach, and those that it lost, over all bands and seeds."""
    rows = json.loads((DOCS / f"evidence/{name}.json").read_text())
    line = "| `{system}` | {found} of {unsolved} | {lost} of {solved} |\n".format
    lines = [line(**row | {"system": row["system"].removesuffix(AFTER)}) for row in rows]
    return "| | never solved, now solved | solved, now never |\n|---|---|---|\n" + "".join(lines)


def studies_page(page: str) -> str:
    """The page with its tables made again."""
    marked = "<!-- table: {}, against {} -->\n".format
    page = MARK.sub(lambda found: marked(*found.groups()) + study_table(*found.groups()), page)
    return BEYOND.sub(lambda found: f"<!-- beyond: {found[1]} -->\n" + beyond_table(found[1]), page)


if __name__ == "__main__":
    PAGE.write_text(studies_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
