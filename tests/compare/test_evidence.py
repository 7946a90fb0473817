"""docs/evidence.md says what its data say: tables and intervals are computed anew from docs/evidence/*.csv."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations
from statistics import mean

import pytest
import studies_page
from evidence import AFTER, BANDS, DOCS, Sheet, sheet

from ra3.measure.statistics import student_t

DATA = {
    "Results on the embedded world": ["methods"],
    "Without dropout, and on new text": ["fairness"],
    "The second world: word problems": ["word-problems"],
}
TEXTS = {
    **DATA,
    "Where RA3 is not first": ["methods", "word-problems"],
    "What is reachable": ["reach"],
    "Ablations": ["ablations"],
}
"""Section -> the data that it is about."""
TWIN = ", equal FLOPs"
ESTIMATE = re.compile(r"([+-]?\d+\.\d)(?: \w+){0,8} \[([+-]?\d+\.\d), ([+-]?\d+\.\d)\]")
"""A number and its interval, a few words between them: 5.2 points ahead [0.4, 5.2]."""


def section(title: str) -> str:
    """The text under a heading of the second level; of the ablations without the runs with special tokens."""
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0].split("\n### Comments, or special tokens\n")[0]


def rows(text: str) -> Iterator[dict[str, str]]:
    """The rows of all tables; "" is the first column's key, its value the name of a method or variant."""
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            head = []
        elif not head:
            head = ["", *cells[1:]]
        elif set(cells[0]) != {"-"}:
            name = re.search(r"`([^`]+)`", cells[0])
            yield {**dict(zip(head, cells, strict=True)), "": name[1] if name else cells[0]}


def system(row: dict[str, str]) -> str:
    return row[""] + (TWIN if "taken / F" in row and row[""] != "ra3" else "")


def percent(values: list[float]) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * part for part in student_t(values)))


def ratio(own: dict[int, dict[str, float]], other: dict[int, dict[str, float]], column: str) -> str:
    return f"{mean(c[column] for c in own.values()) / mean(c[column] for c in other.values()):.2f}"


def taken(own: dict[int, dict[str, float]], reference: dict[int, dict[str, float]]) -> str:
    """FLOPs over those of the reference, seed by seed."""
    shares = mean(own[seed]["flops"] / reference[seed]["flops"] for seed in own)
    return f"{shares:.2f}" if own is not reference else "1"


def computed(data: Sheet, row: dict[str, str]) -> dict[str, str]:
    """What the row must say, but for what its twin got."""
    name = system(row)
    own, found = data[name], {"": row[""]}
    for column in row:
        band, _, after = column.partition(", ")
        if band in BANDS:
            found[column] = percent([c[f"{band} pass@1"] for c in data[name + (AFTER if after else "")].values()])
    if "taken / F" in row:
        return {**found, "taken / F": taken(own, data["ra3"])}
    costs = {k: column for k, column in (("FLOPs", "flops"), ("CPU time", "cpu_s")) if k in row}
    return {**found, **{k: ratio(own, data["ntp"], column) if name != "base" else "" for k, column in costs.items()}}


@pytest.mark.parametrize(("title", "names"), DATA.items())
def test_every_row_of_a_table_is_what_its_runs_say(title, names):
    data = sheet(*names)
    told = list(rows(section(title)))
    assert {system(row) for row in told} == {name for name in data if AFTER not in name}
    for row in told:
        assert {key: value for key, value in row.items() if key != "what it got"} == computed(data, row)


def test_the_table_of_what_is_reachable_is_what_its_runs_say():
    data, told = sheet("reach"), list(rows(section("What is reachable")))
    assert [row[""] for row in told] == [name for name in data if AFTER not in name]
    for row in told:
        for column in [column for column in row if column]:
            band, k, after = re.fullmatch(r"(\w+)@(\d+)(, RLVR)?", column).groups()
            own = data[row[""] + (AFTER if after else "")].values()
            assert row[column] == f"{100 * mean(c[f'{band} pass@{k}'] for c in own):.1f}"


def test_the_tables_of_ablations_are_what_their_runs_say():
    data, told = sheet("ablations"), list(rows(section("Ablations")))
    assert {row[""] for row in told} == set(data)
    for row in told:
        assert row == {"": row[""], **ablation(data[row[""]])}


def ablation(own: dict[int, dict[str, float]]) -> dict[str, str]:
    """The row of one variant."""
    by_seed = {column: [own[seed].get(column, 0.0) for seed in sorted(own)] for column in next(iter(own.values()))}
    shown = {band: f"{100 * mean(by_seed[f'{band} pass@1']):.1f}" for band in BANDS}
    return {
        "edge by seed": ", ".join(f"{100 * value:.0f}" for value in by_seed["edge pass@1"]),
        **shown,
        "thinks, by seed": ", ".join(f"{value:.2f}" for value in by_seed["think_rate"]),
        "F1, by seed": ", ".join(f"{value:.2f}" for value in by_seed["boundary_f1"]),
    }


def estimates(data: Sheet) -> Iterator[tuple[str, str, str]]:
    """Mean and bounds, as the page writes them, of every level and paired difference of pass@1, final reward and A."""
    for column in [*(f"{band} pass@1" for band in BANDS), "final_reward", "asymptote"]:
        scored = {name: {s: c[column] for s, c in own.items() if column in c} for name, own in data.items()}
        for values in scored.values():
            yield from estimate(list(values.values()))
        for a, b in permutations(scored.values(), 2):
            yield from estimate([a[seed] - b[seed] for seed in a if seed in b])


def estimate(values: list[float]) -> Iterator[tuple[str, str, str]]:
    if len(values) > 1:
        mean_, low, high = (f"{100 * part:.1f}" for part in student_t(values))
        yield mean_, low, high


@pytest.mark.parametrize(("title", "names"), TEXTS.items())
def test_every_interval_in_the_text_and_its_mean_are_what_the_runs_say(title, names):
    possible = {found for name in names for found in estimates(sheet(name))}
    text = " ".join(line.strip() for line in section(title).splitlines() if not line.startswith("|"))
    told = [tuple(number.lstrip("+") for number in found) for found in ESTIMATE.findall(text)]
    assert told and len(told) == text.count("[") - text.count("](")
    assert [found for found in told if found not in possible] == []


def test_the_tables_of_studies_are_those_of_their_data():
    page = studies_page.PAGE.read_text(encoding="utf-8")
    assert page == studies_page.studies_page(page), "make the tables again: .venv/bin/python tests/studies_page.py"
