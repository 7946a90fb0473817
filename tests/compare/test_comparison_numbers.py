"""The numbers of a comparison, by hand: differences, summaries, costs, RLVR's courses and reach; tables and page."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest

from ra3.compare.definition import Comparison
from ra3.compare.page import comparison_page
from ra3.compare.results import (
    BeyondReach,
    Compared,
    Evaluation,
    baseline,
    compared,
    course,
    scores_csv,
    smoothed,
    steps_share,
)
from ra3.compare.tables import cost_table, gap_cell, share_cell, tables
from ra3.measure.pass_at_k import reach_curves
from ra3.measure.statistics import Interval
from ra3.report.page import render
from ra3.run.results import ProblemCount, Table


def record(system, seed, edge, known=0.5, rewards=(), **more):
    scores = {"edge pass@1": edge, "known pass@1": known, "edge pass@5": 1.0}
    own = {"course": course(rewards), "rewards": list(rewards), "code": ["ra3 1.0 aa"], **more}
    return Evaluation(system, system.removesuffix("+rlvr"), seed, scores, **own)


COST = ("flops", "generated", "scored", "trained", "cpu_s", "peak_mib")
COMPARISON = Comparison("x", (), (1, 2), {"ntp": {}, "ra3": {}}, ("ntp", "ra3"), ("ntp",))
CELLS = [
    record("ntp", 1, 0.2), record("ra3", 1, 0.5), record("ntp", 2, 0.4), record("ra3", 2, 0.6),
    record("ntp+rlvr", 1, 0.3, rewards=[0.1, 0.2, 0.3, 0.4]), record("ra3+rlvr", 1, 0.6, rewards=[0.3, 0.4, 0.5, 0.6]),
]  # fmt: skip


def of_all(cells) -> Compared:
    return compared(COMPARISON, cells)


def of_system(cells, system):
    """What the seeds of a system say together, by metric."""
    return {row.metric: row for row in of_all(cells).summary if row.system == system}


def tables_of(results) -> dict[str, Table]:
    return {table.title: table for own in tables(results).values() for table in own}


def test_differences_are_paired_by_seed():
    """Gaps 0.3 and 0.2: mean 0.25, s = 0.0707, half width 12.706 * s / sqrt(2) = 0.635."""
    edge = next(row for row in of_all(CELLS).differences if row.metric == "edge pass@1")
    assert (edge.a, edge.b, edge.above, edge.seeds) == ("ra3", "ntp", 2, 2)
    assert edge.gap == pytest.approx((0.25, -0.3853, 0.8853), abs=1e-3)
    after = [row for row in of_all(CELLS).differences if row.a == "ra3+rlvr"]
    assert {row.b for row in after} == {"ntp+rlvr"} and math.isnan(after[0].gap.low)


def test_where_nothing_is_mid_trained_methods_are_compared_with_the_base_as_it_is():
    cells = [record("base", 1, 0.2), record("gspo+rlvr", 1, 0.5)]
    comparison = Comparison("x", (), (1,), {"base": {}, "gspo": {}}, ("gspo",), ("base",), midtrains=False)
    (gap,) = [row for row in compared(comparison, cells).differences if row.metric == "edge pass@1"]
    assert (gap.a, gap.b) == ("gspo+rlvr", "base") and gap.gap.mean == pytest.approx(0.3)
    (row,) = tables_of(compared(comparison, cells))["Differences in points of pass@1"].rows
    assert row[0] == "gspo \u2212 base" and "+30.0" in " ".join(map(str, row))
    assert not compared(replace(comparison, midtrains=True), cells).differences


@pytest.mark.parametrize("ntp", [(0.0, 0.8), (0.9, 0.1), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.99, 1.0)])
def test_intervals_end_where_shares_do(ntp):
    """Of two values that lie far apart Student's interval is wider than what is possible."""
    cells = [record("ntp", seed, share) for seed, share in zip((1, 2), ntp, strict=True)]
    cells += [record("ra3", seed, share) for seed, share in ((1, 0.9), (2, 0.95))]
    results = of_all(cells)
    assert all(0 <= row.interval.low <= row.interval.high <= 1 for row in results.summary)
    assert all(-1 <= row.gap.low <= row.gap.high <= 1 for row in results.differences)


@pytest.mark.parametrize(
    ("ntp", "told"),
    [
        ((0.5, 0.52), "ra3: 92.5%, +41.5 [+22.4, +60.6] points over ntp"),
        ((0.9, 0.1), "ra3: 92.5%, not told apart from ntp (+42.5 [-100.0, +100.0] points)"),
        ((0.5,), "ra3: 92.5%, not told apart from ntp (+40.0 points)"),
        ((0.96, 0.96), "ntp: 96.0%."),
        ((0.0, 0.0), "ra3: 92.5%, +92.5 [+60.7, +100.0] points over ntp"),
        ((0.9, 0.94), "ra3: 92.5%, not told apart from ntp (+0.5 "),
        ((0.0, 1.0), "ra3: 92.5%, not told apart from ntp (+42.5 [-100.0, +100.0] points)"),
    ],
)
def test_the_headline_names_no_winner_where_nothing_is_told_apart(ntp, told):
    cells = [record("ntp", seed, share) for seed, share in zip((1, 2), ntp, strict=False)]
    cells += [record("ra3", seed, share) for seed, share in ((1, 0.9), (2, 0.95))]
    assert told in comparison_page(COMPARISON, of_all(cells), [], "ra3 compare x", [])


def test_a_summary_has_every_band_and_all_together():
    rows = of_system(CELLS[0:3:2], "ntp")
    assert set(rows) == {"edge pass@1", "known pass@1", "all pass@1"}
    assert rows["edge pass@1"].interval.mean == pytest.approx(0.3)
    assert rows["edge pass@1"].iqm.mean == pytest.approx(0.3)
    assert rows["all pass@1"].interval.mean == pytest.approx(0.4)
    assert rows["all pass@1"].iqm.mean == pytest.approx(0.45)  # of 0.2, 0.4, 0.5, 0.5 without the ends


def test_cost_is_a_multiple_of_the_other_ones():
    cells = [
        replace(cell, cost={**dict.fromkeys(COST, 1.0), "flops": flops})
        for cell, flops in zip(CELLS[:2], (2e9, 5e9), strict=True)
    ]
    rows = cost_table(of_all(cells)).rows
    assert [row[2] for row in rows] == ["1.00", "2.50"] and rows[1][1] == "0.005"


@pytest.mark.parametrize(
    ("against", "expected"),
    [(("ra3", "ntp", "base"), "ntp"), (("ntp", "ra3"), "ra3"), (("ra3", "base"), "ra3"), (("base",), "base")],
)
def test_costs_are_multiples_of_the_last_rival_that_was_mid_trained(against, expected):
    cells = [Evaluation("base", "base", 1, {})]
    cells += [Evaluation(name, name, 1, {}, cost={"flops": 1.0}) for name in ("base+rlvr", "ntp", "ra3", "iwae")]
    assert baseline(Comparison("x", (), (1,), {}, (), against), cells) == expected


def test_steps_to_the_other_ones_final_reward():
    assert steps_share([0.1, 0.3, 0.5], [0.1, 0.2, 0.3, 0.3]) == 0.25
    assert steps_share([0.1], [0.2]) == math.inf
    (row,) = of_all(CELLS).steps
    (final,) = [row.gap for row in of_all(CELLS).differences if row.metric == "final_reward"]
    assert row.median_share == 0.25 and final.mean == pytest.approx(0.2)


def test_rewards_are_averaged_over_three_steps():
    assert smoothed((0.0, 0.3, 0.6, 0.9)) == pytest.approx([0.0, 0.15, 0.3, 0.6])


def test_sigmoids_are_fitted_to_each_seed_that_has_enough_steps():
    assert "asymptote" not in of_system(CELLS[:1], "ntp")
    courses = [[0.2 + level * n / (n + 4) for n in range(1, 40)] for level in (0.5, 0.7)]
    found = of_system([record("ra3+rlvr", seed, 0.5, rewards=own) for seed, own in enumerate(courses)], "ra3+rlvr")
    assert found["asymptote"].seeds == 2
    assert found["asymptote"].interval.mean == pytest.approx(0.8, abs=0.01)
    assert found["midpoint"].interval.mean == pytest.approx(4, abs=0.1)
    assert found["steepness"].interval.mean == pytest.approx(1, abs=0.02)


def test_a_course_that_does_not_level_off_shows_no_asymptote():
    courses = [[0.2 + 0.5 * n / (n + 4) for n in range(1, 40)], [0.2 + 0.01 * n for n in range(1, 40)], [0.5] * 40]
    cells = [record("ra3+rlvr", seed, 0.5, rewards=own) for seed, own in enumerate(courses)]
    found = of_system(cells, "ra3+rlvr")
    assert (found["asymptote"].seeds, found["final_reward"].seeds) == (2, 3)
    assert found["midpoint"].interval.mean == pytest.approx(4, abs=0.1)  # of the first alone: the third does not rise
    assert "asymptote" not in of_system(cells[1:2], "ra3+rlvr")
    (line,) = tables_of(of_all(cells))["RLVR: curves as sigmoids"].rows
    assert line[:2] == ("ra3", "2 of 3")


def test_the_spreadsheet_has_one_line_for_each_evaluation():
    long = record("ra3+rlvr", 3, 2 / 3, rewards=[0.2, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6])
    first, second = csv.DictReader(scores_csv([CELLS[0], long]).splitlines())
    assert first["edge pass@1"] == "0.2" and second["edge pass@1"] == str(2 / 3)
    assert first["asymptote"] == "" and float(second["asymptote"]) >= 0.6
    assert float(second["final_reward"]) == pytest.approx(0.6)


def test_asymptotes_are_compared_seed_by_seed():
    """Gaps of 0.2 and 0.3 in A: mean 0.25."""
    courses = {("ntp", 1): 0.3, ("ra3", 1): 0.5, ("ntp", 2): 0.4, ("ra3", 2): 0.7}
    cells = [
        record(f"{name}+rlvr", seed, 0.5, rewards=[0.2 + level * n / (n + 4) for n in range(1, 40)])
        for (name, seed), level in courses.items()
    ]
    (row,) = [row for row in of_all(cells).differences if row.metric == "asymptote"]
    assert (row.a, row.b, row.seeds) == ("ra3+rlvr", "ntp+rlvr", 2)
    assert row.gap.mean == pytest.approx(0.25, abs=0.01)


def test_the_spreadsheet_says_how_many_answers_think():
    cell = record("ra3", 1, 0.5, curves={"think_rate_by_chain": {1: 0.2, 2: 0.6}})
    (line,) = csv.DictReader(scores_csv([cell]).splitlines())
    assert float(line["answers that think"]) == pytest.approx(0.4)


def test_reach_is_pass_at_powers_of_two():
    """5 samples, of which 0 and 1 pass: pass@1 = (0 + 0.2) / 2, pass@2 = (0 + 0.4) / 2, pass@4 = (0 + 0.8) / 2."""
    counts = [ProblemCount("m", "edge", "1", 5, 0), ProblemCount("m", "edge", "2", 5, 1)]
    found = reach_curves("m", [*counts, ProblemCount("m", "hard", "3", 0, 0)], 0)
    assert {p.x: p.mean for p in found["pass_on_edge_by_k"]} == pytest.approx({1: 0.1, 2: 0.2, 4: 0.4})
    assert found["pass_on_hard_by_k"] == []


def test_what_rlvr_did_to_the_reach_is_paired_by_seed():
    """pass@1 rises by 0.2 and 0.3, pass@8 not at all: it has only sharpened."""
    courses = {("ntp", 1): (0.2, 0.6), ("ntp", 2): (0.3, 0.8), ("ntp+rlvr", 1): (0.4, 0.6), ("ntp+rlvr", 2): (0.6, 0.8)}
    cells = [
        Evaluation(
            name, name.removesuffix("+rlvr"), seed, {"edge pass@1": first, "edge pass@8": last},
            curves={"pass_on_edge_by_k": {1.0: first, 8.0: last}},
        )
        for (name, seed), (first, last) in courses.items()
    ]  # fmt: skip
    first, last = of_all(cells).reach
    assert (first.a, first.b, first.metric) == ("ntp+rlvr", "ntp", "edge pass@1")
    assert first.means == pytest.approx((0.5, 0.25)) and first.gap.mean == pytest.approx(0.25)
    assert (last.metric, last.gap.mean) == ("edge pass@8", 0)
    (line,) = tables_of(of_all(cells))["What RLVR reaches"].rows
    assert line[:2] == ("ntp", "edge") and str(line[2]).endswith("; 25.0 to 50.0")


def test_problems_that_rlvr_brought_within_reach_and_those_it_lost():
    """Of three unsolved ones (two seeds) one is solved now; of three solved ones two are lost; "d" has no sample."""
    before = {1: {"a": False, "b": True}, 2: {"a": False, "b": True, "c": True, "d": True, "e": False}}
    after = {1: {"a": True, "b": False}, 2: {"a": False, "b": True, "c": False, "e": False}}
    cells = [record("base", seed, 0.2, solved=own) for seed, own in before.items()]
    cells += [record("gspo+rlvr", seed, 0.2, solved=own) for seed, own in after.items()]
    results = compared(replace(COMPARISON, midtrains=False), cells)
    assert results.beyond == [BeyondReach("gspo+rlvr", 1, 3, 2, 3)]
    assert tables_of(results)["Beyond reach"].rows == [("gspo", "1 of 3", "2 of 3")]


def test_tables_and_page_show_the_numbers(tmp_path):
    results = of_all(CELLS)
    shown = tables_of(results)
    line = [str(cell) for cell in shown["Differences in points of pass@1"].rows[0]]
    assert line[0] == "ra3 \u2212 ntp" and "+25.0 [-38.5, +88.5]" in line and line[-2:] == [
        "2 of 2; 1 of 1", "no: go on to 5",
    ]  # fmt: skip
    assert [str(head) for head in shown["pass@1"].heads][2:] == [
        "edge", "edge + RLVR", "known", "known + RLVR", "all", "all + RLVR",
    ]  # fmt: skip
    assert "When it thinks" not in shown
    assert "| ra3 | 50.0 | 60.0 |" in shown["Seed by seed, edge pass@1"].markdown()
    page = comparison_page(COMPARISON, results, COMPARISON.cells(tmp_path), "ra3 compare <b>", ["a cell failed"])
    assert "<b>." not in page and "\u221238.5 to +88.5" in page and "<svg" in page and "a cell failed" in page
    assert "Highest edge pass@1. ra3: 55.0%, not told apart from ntp (+25.0 [-38.5, +88.5] points)" in page
    assert "on seeds 1, 2, ra3 1.0 aa; made by <code>ra3 compare" in page and "several versions" not in page
    newer = [replace(cell, code=["ra3 1.0 bb"]) if cell.seed == 2 else cell for cell in CELLS]
    page_of_two = comparison_page(COMPARISON, of_all(newer), [], "ra3 compare x", [])
    told = "several versions are compared here: ra3 1.0 aa (behind 4 evaluations), ra3 1.0 bb (behind 2 evaluations)."
    assert told in page_of_two
    assert page.count("ra3 midtrain ") == 4 and "Quality against cost" not in page
    two = [replace(CELLS[0], curves={"think_rate_by_chain": {x: 0.5}}) for x in (1, 2)]  # nothing on the same x
    assert "<h3>Thinks</h3>" in comparison_page(COMPARISON, of_all(two), [], "ra3 compare x", [])
    costly = [replace(cell, cost=dict.fromkeys(COST, 1e9)) for cell in CELLS[:2]]
    page = comparison_page(COMPARISON, of_all(costly), [], "ra3 compare x", [])
    assert "Quality against cost" in page and "edge pass@1; small points" in page
    wider = replace(COMPARISON, variants={"base": {}} | COMPARISON.variants)
    plot = comparison_page(wider, of_all([*costly, record("base", 1, 0.1)]), [], "ra3 compare x", [])
    assert plot.count("stroke-dasharray") > page.count("stroke-dasharray"), "base has no level in the cost plot"
    assert str(share_cell(Interval(0.5, 0.4, 0.6))) == "50.0 [40.0, 60.0]"
    assert str(gap_cell(Interval(0.1, math.nan, math.nan))) == "+10.0"


@pytest.mark.parametrize(
    ("gap", "mark"),
    [((5, 1, 9), "mean up"), ((-5, -9, -1), "mean down"), ((5, -1, 9), '"mean"'), ((5, 0.04, 9), '"mean"')],
)
def test_only_differences_whose_interval_is_without_0_are_coloured(gap, mark, tmp_path):
    (tmp_path / "table.html").write_text('{% import "macros.html" as page with context %}{{ page.data_table(table) }}')
    cell = gap_cell(Interval(*(part / 100 for part in gap)))
    assert mark in render(tmp_path / "table.html", table=Table("", ("", "a"), [("x", cell)]))
    share = share_cell(Interval(0.5, 0.1, 0.9))
    assert '"mean"' in render(tmp_path / "table.html", table=Table("", ("", "a"), [("x", share)]))
