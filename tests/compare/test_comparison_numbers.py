"""The numbers of a comparison, by hand: differences, summaries, costs, RLVR's courses and reach; tables and page."""

from __future__ import annotations

import csv
import json
import math

import pytest

from ra3.compare.aggregate import (
    baseline,
    difference_rows,
    reach_rows,
    sigmoid_differences,
    sigmoid_row,
    steps_rows,
    steps_share,
    summarised,
    summary_rows,
)
from ra3.compare.page import comparison_page, table_html
from ra3.compare.plan import Comparison
from ra3.compare.results import course, reach, rlvr_rewards, smoothed
from ra3.compare.spreadsheet import scores_csv
from ra3.compare.table import Table, points
from ra3.compare.tables import tables
from ra3.compare.training_tables import cost_table


def record(system, seed, edge, known=0.5, rewards=()):
    variant = system.removesuffix("+rlvr")
    scores = {"edge pass@1": edge, "known pass@1": known, "edge pass@5": 1.0}
    place = {"system": system, "variant": variant, "seed": seed, "scores": scores}
    empty = {"heldout": {}, "curves": {}, "reach": {}, "cost": {}, "code": ["ra3 1.0 aa"]}
    return {**place, **empty, **course(rewards), "rewards": list(rewards)}


COST = ("flops", "generated", "scored", "trained", "cpu_s", "peak_mib")
COMPARISON = Comparison("x", (), (1, 2), {"ntp": {}, "ra3": {}}, ("ntp", "ra3"), ("ntp",))
CELLS = [
    record("ntp", 1, 0.2), record("ra3", 1, 0.5), record("ntp", 2, 0.4), record("ra3", 2, 0.6),
    record("ntp+rlvr", 1, 0.3, rewards=[0.1, 0.2, 0.3, 0.4]), record("ra3+rlvr", 1, 0.6, rewards=[0.3, 0.4, 0.5, 0.6]),
]  # fmt: skip


def test_differences_are_paired_by_seed():
    """Gaps 0.3 and 0.2: mean 0.25, s = 0.0707, half width 12.706 * s / sqrt(2) = 0.635."""
    edge = next(row for row in difference_rows(COMPARISON, CELLS) if row["metric"] == "edge pass@1")
    assert (edge["a"], edge["b"], edge["above"], edge["seeds"]) == ("ra3", "ntp", 2, 2)
    assert (edge["mean"], edge["low"], edge["high"]) == pytest.approx((0.25, -0.3853, 0.8853), abs=1e-3)
    after = [row for row in difference_rows(COMPARISON, CELLS) if row["a"] == "ra3+rlvr"]
    assert {row["b"] for row in after} == {"ntp+rlvr"} and math.isnan(after[0]["low"])


def test_a_summary_has_every_band_and_all_together():
    rows = {row["metric"]: row for row in summary_rows("ntp", CELLS[0:3:2])}
    assert set(rows) == {"edge pass@1", "known pass@1", "all pass@1"}
    assert rows["edge pass@1"]["mean"] == pytest.approx(0.3) and rows["edge pass@1"]["iqm"]["mean"] == pytest.approx(
        0.3
    )
    assert rows["all pass@1"]["mean"] == pytest.approx(0.4)
    assert rows["all pass@1"]["iqm"]["mean"] == pytest.approx(0.45)  # of 0.2, 0.4, 0.5, 0.5 without the ends


def test_cost_is_a_multiple_of_the_other_ones():
    cells = [
        {**cell, "cost": {**dict.fromkeys(COST, 1.0), "flops": flops}}
        for cell, flops in zip(CELLS[:2], (2e9, 5e9), strict=True)
    ]
    rows = cost_table({"cells": cells, "baseline": "ntp"}).rows
    assert [row[2] for row in rows] == ["1.00", "2.50"] and rows[1][1] == "0.005"


@pytest.mark.parametrize(
    ("against", "expected"),
    [(("ra3", "ntp", "base"), "ntp"), (("ntp", "ra3"), "ra3"), (("ra3", "base"), "ra3"), (("base",), "base")],
)
def test_costs_are_multiples_of_the_last_rival_that_was_mid_trained(against, expected):
    cells = [{"system": name, "cost": cost} for name, cost in (("base", {}), ("base+rlvr", {"flops": 1.0}))]
    cells += [{"system": name, "cost": {"flops": 1.0}} for name in ("ntp", "ra3", "iwae")]
    assert baseline(Comparison("x", (), (1,), {}, (), against), cells) == expected


def test_steps_to_the_other_ones_final_reward():
    assert steps_share([0.1, 0.3, 0.5], [0.1, 0.2, 0.3, 0.3]) == 0.25
    assert steps_share([0.1], [0.2]) == math.inf
    (row,) = steps_rows(COMPARISON, CELLS)
    assert row["median_share"] == 0.25 and row["final"]["mean"] == pytest.approx(0.2)


def test_rewards_are_averaged_over_three_steps(tmp_path):
    lines = [{"stage": "rlvr", "reward": r} for r in (0.0, 0.3, 0.6, 0.9)] + [{"stage": "mstep"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert smoothed(rlvr_rewards(tmp_path)) == pytest.approx([0.0, 0.15, 0.3, 0.6])


def test_sigmoids_are_fitted_to_each_seed_that_has_enough_steps():
    assert sigmoid_row("ntp", CELLS[:1]) is None
    courses = [[0.2 + level * n / (n + 4) for n in range(1, 40)] for level in (0.5, 0.7)]
    row = sigmoid_row("a+rlvr", [record("a+rlvr", seed, 0.5, rewards=own) for seed, own in enumerate(courses)])
    assert row is not None and row["seeds"] == 2
    assert row["asymptote"]["mean"] == pytest.approx(0.8, abs=0.01)
    assert row["midpoint"]["mean"] == pytest.approx(4, abs=0.1) and row["steepness"]["mean"] == pytest.approx(
        1, abs=0.02
    )


def test_a_course_that_does_not_level_off_shows_no_asymptote():
    courses = [[0.2 + 0.5 * n / (n + 4) for n in range(1, 40)], [0.2 + 0.01 * n for n in range(1, 40)], [0.5] * 40]
    cells = [record("a+rlvr", seed, 0.5, rewards=own) for seed, own in enumerate(courses)]
    row = sigmoid_row("a+rlvr", cells)
    assert row is not None and (row["seeds"], row["courses"]) == (2, 3)
    assert row["midpoint"]["mean"] == pytest.approx(4, abs=0.1)  # of the first alone: the third does not rise
    assert sigmoid_row("a+rlvr", cells[1:2]) is None


def test_the_spreadsheet_has_one_line_for_each_evaluation():
    long = record("ra3+rlvr", 3, 2 / 3, rewards=[0.2, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6])
    first, second = csv.DictReader(scores_csv([CELLS[0], long]).splitlines())
    assert first["edge pass@1"] == "0.2" and second["edge pass@1"] == str(2 / 3)
    assert first["asymptote"] == "" and second["final_reward"] == "0.6" and float(second["asymptote"]) >= 0.6


def test_asymptotes_are_compared_seed_by_seed():
    """Gaps of 0.2 and 0.3 in A: mean 0.25."""
    courses = {("ntp", 1): 0.3, ("ra3", 1): 0.5, ("ntp", 2): 0.4, ("ra3", 2): 0.7}
    cells = [
        record(f"{name}+rlvr", seed, 0.5, rewards=[0.2 + level * n / (n + 4) for n in range(1, 40)])
        for (name, seed), level in courses.items()
    ]
    (row,) = sigmoid_differences(COMPARISON, cells)
    assert (row["a"], row["b"], row["seeds"]) == ("ra3+rlvr", "ntp+rlvr", 2)
    assert row["mean"] == pytest.approx(0.25, abs=0.01)


def test_reach_is_pass_at_powers_of_two():
    """5 samples, of which 0 and 1 pass: pass@1 = (0 + 0.2) / 2, pass@2 = (0 + 0.4) / 2, pass@4 = (0 + 0.8) / 2."""
    counts = [{"band": "edge", "judged": 5, "passed": 0}, {"band": "edge", "judged": 5, "passed": 1}]
    assert reach(counts) == {"edge": pytest.approx({1: 0.1, 2: 0.2, 4: 0.4})}
    assert reach([*counts, {"band": "hard", "judged": 0, "passed": 0}])["hard"] == {}


def test_what_rlvr_did_to_the_reach_is_paired_by_seed():
    """pass@1 rises by 0.2 and 0.3, pass@8 not at all: it has only sharpened."""
    courses = {("ntp", 1): (0.2, 0.6), ("ntp", 2): (0.3, 0.8), ("ntp+rlvr", 1): (0.4, 0.6), ("ntp+rlvr", 2): (0.6, 0.8)}
    cells = [
        {**record(name, seed, 0.5), "reach": {"edge": {1: first, 8: last}}}
        for (name, seed), (first, last) in courses.items()
    ]
    first, last = reach_rows(cells)
    assert (first["k"], first["before"], first["after"]) == (1, pytest.approx(0.25), pytest.approx(0.5))
    assert first["mean"] == pytest.approx(0.25) and (last["k"], last["mean"]) == (8, 0)


def test_tables_and_page_show_the_numbers(tmp_path):
    results = summarised(COMPARISON, CELLS)
    shown = {table.title: table for table in tables(results)}
    (line,) = shown["Differences in points of pass@1"].rows
    assert line[0] == "ra3 \u2212 ntp" and "+25.0 [-38.5, +88.5]" in line and line[-2:] == (
        "2 of 2; 1 of 1", "no: go on to 5",
    )  # fmt: skip
    assert "When it thinks" not in shown
    assert "| ra3 | 50.0 | 60.0 |" in shown["Seed by seed, edge pass@1"].markdown
    page = comparison_page(COMPARISON, results, COMPARISON.cells(tmp_path), "ra3 compare <b>", ["a cell failed"])
    assert "<b>." not in page and "-38.5 to +88.5" in page and "<svg" in page and "a cell failed" in page
    assert "Highest edge pass@1. ra3: 55.0%, +25.0 [-38.5, +88.5] points over ntp" in page
    assert "on seeds 1, 2, ra3 1.0 aa; made by <code>ra3 compare" in page and "several versions" not in page
    newer = [{**cell, "code": ["ra3 1.0 bb"]} if cell["seed"] == 2 else cell for cell in CELLS]
    page_of_two = comparison_page(COMPARISON, summarised(COMPARISON, newer), [], "ra3 compare x", [])
    told = "several versions are compared here: ra3 1.0 aa (behind 4 evaluations), ra3 1.0 bb (behind 2 evaluations)."
    assert told in page_of_two
    assert page.count("ra3 midtrain ") == 4 and "Quality against cost" not in page
    two = [{**CELLS[0], "curves": {"think_rate_by_chain": {x: 0.5}}} for x in (1, 2)]  # nothing on the same x
    assert "<h3>Thinks</h3>" in comparison_page(COMPARISON, summarised(COMPARISON, two), [], "ra3 compare x", [])
    costly = [{**cell, "cost": dict.fromkeys(COST, 1e9)} for cell in CELLS[:2]]
    page = comparison_page(COMPARISON, summarised(COMPARISON, costly), [], "ra3 compare x", [])
    assert "Quality against cost" in page and "edge pass@1; small points" in page
    assert points(0.5, 0.4, 0.6) == "50.0 [40.0, 60.0]" and points(0.1, math.nan, math.nan, signed=True) == "+10.0"


@pytest.mark.parametrize(
    ("text", "mark"),
    [("+5.0 [+1.0, +9.0]", "mean up"), ("-5.0 [-9.0, -1.0]", "mean down"), ("+5.0 [-1.0, +9.0]", '"mean"'),
     ("+5.0 [+0.0, +9.0]", '"mean"'), ("5.0 [1.0, 9.0]", '"mean"')],
)  # fmt: skip
def test_only_differences_whose_interval_is_without_0_are_coloured(text, mark):
    assert mark in table_html(Table("", "", ("a",), [(text,)]))
