"""`ra3 compare`: what is in a file, what is owed, what is made of the numbers, and one real comparison to its end."""

from __future__ import annotations

import json
import math
import re
import signal

import pytest
from cli_runs import Started, ra3

from ra3.comparison.measured import (
    difference_rows,
    rlvr_rewards,
    sigmoid_row,
    smoothed,
    steps_rows,
    steps_share,
    summarised,
    summary_rows,
)
from ra3.comparison.page import comparison_page
from ra3.comparison.plan import Comparison, cell_name, read_comparison, shipped
from ra3.comparison.tables import cost_table, points, tables
from ra3.errors import UserError

TEXT = """\
seeds = [1, 2]
rlvr = ["ntp"]
against = "ntp"
[settings]
eval.per_band = 1
[variants.base]
[variants.ntp]
midtrain.method = "ntp"
"""


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        (tmp_path / "own.toml").write_text(text)
        return tmp_path / "own.toml"

    return write


def test_a_cell_is_trained_evaluated_put_through_rlvr_and_evaluated_again(file, tmp_path):
    comparison = read_comparison(file(TEXT))
    base, ntp, *_ = comparison.cells(tmp_path)
    assert [step.command for step in base.steps] == ["eval"]
    assert [step.command for step in ntp.steps] == ["midtrain", "eval", "rlvr", "eval"]
    train, first, learn, last = ntp.steps
    assert first.settings["model.path"] == learn.settings["model.path"] == str(train.folder / "model")
    assert last.settings["model.path"] == str(learn.folder / "model")
    assert ntp.folder("rlvr-eval") == last.folder and base.folder("midtrain") is None
    assert {cell.seed for cell in comparison.cells(tmp_path)[:2]} == {1}
    assert train.config().midtrain.method == "ntp" and train.config().eval.per_band == 1
    assert "--eval.per-band 1" in train.text and train.text.startswith("ra3 midtrain ")


@pytest.mark.parametrize("name", shipped())
def test_the_comparisons_that_come_with_ra3_are_right(name):
    path = shipped()[name]
    comparison = read_comparison(path)
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("# ") and second == f"# Run it with `ra3 compare {name} --workers 2`."
    assert comparison.against in comparison.variants


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds = [1, 2]", "seeds = []"), "no seeds"),
        (("seeds = [1, 2]", "seeds = [1, 1]"), "twice"),
        (("seeds = [1, 2]", "seeds = [-1]"), "seeds cannot be -1"),
        (("seeds = [1, 2]", "seeds = 3"), "seeds cannot be 3"),
        (('against = "ntp"', 'against = "nobody"'), "no variant nobody"),
        (('rlvr = ["ntp"]', 'rlvr = ["x"]'), "no variant x"),
        (("[variants.base]", '[variants."NTP"]'), "same run folders"),
        (('method = "ntp"', 'method = "npt"'), "did you mean ntp"),
        (("eval.per_band", "eval.perband"), "unknown"),
        (("seeds =", "variant = 3\nseeds ="), "unknown key variant"),
        (("[variants.base]", "[variants.base"), "not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(file, change, words):
    with pytest.raises(UserError, match=re.escape(words)):
        read_comparison(file(TEXT.replace(*change)))


def test_cells_have_readable_names():
    assert cell_name("RA3, c = 0", 3) == "ra3-c-0-3"
    assert cell_name("0.8 (dear)", 0) == "0.8-dear-0"


# Numbers


def record(system, seed, edge, known=0.5, rewards=()):
    variant = system.removesuffix("+rlvr")
    scores = {"edge pass@1": edge, "known pass@1": known, "edge pass@5": 1.0}
    place = {"system": system, "variant": variant, "seed": seed, "scores": scores}
    return {**place, "heldout": {}, "curves": {}, "rewards": list(rewards), "raw_rewards": list(rewards), "cost": {}}


COST = ("flops", "generated", "scored", "trained", "cpu_s")
COMPARISON = Comparison("x", (), (1, 2), {"ntp": {}, "ra3": {}}, ("ntp", "ra3"), "ntp")
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
    rows = cost_table({"cells": cells, "against": "ntp"}).rows
    assert [row[-1] for row in rows] == ["1.00", "2.50"] and rows[1][1] == "5e+09"


def test_steps_to_the_other_ones_final_reward():
    assert steps_share([0.1, 0.3, 0.5], [0.1, 0.2, 0.3, 0.3]) == 0.25
    assert steps_share([0.1], [0.2]) == math.inf
    assert [row["median_share"] for row in steps_rows(COMPARISON, CELLS)] == [0.25]


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


def test_tables_and_page_show_the_numbers(tmp_path):
    results = summarised(COMPARISON, CELLS)
    shown = {table.title: table for table in tables(results)}
    assert ("ra3 - ntp", "edge", "+25.0 [-38.5, +88.5]", "2 of 2", "no: go on from 0") in shown[
        "Differences in points of pass@1"
    ].rows
    assert (
        "When it thinks" not in shown
        and "| 1 | 20.0 | 50.0 | 30.0 | 60.0 |" in shown["Seed by seed, edge pass@1"].markdown
    )
    page = comparison_page("<b>", results, COMPARISON.cells(tmp_path), "ra3 compare x", ["a cell failed"])
    assert "<b>&" not in page and "+25.0 [-38.5, +88.5]" in page and "<svg" in page and "a cell failed" in page
    assert page.count("ra3 midtrain ") == 4 and "Quality against cost" not in page
    costly = [{**cell, "cost": dict.fromkeys(COST, 1e9)} for cell in CELLS[:2]]
    page = comparison_page("x", summarised(COMPARISON, costly), [], "ra3 compare x", [])
    assert "Quality against cost" in page and "edge pass@1; small points" in page
    assert points(0.5, 0.4, 0.6) == "50.0 [40.0, 60.0]" and points(0.1, math.nan, math.nan, signed=True) == "+10.0"


# A real comparison

SMALL = """\
seeds = [1]
against = "base"
[settings]
model.path = "tiny"
run.threads = 1
corpus.documents = 8
midtrain.mstep.batch_documents = 4
eval.per_band = 1
eval.samples = 1
eval.k = [1]
eval.max_new_tokens = 4
[variants.base]
[variants.ntp]
midtrain.method = "ntp"
"""


def test_a_comparison_runs_what_is_owed_and_nothing_twice(home):
    (home / "small.toml").write_text(SMALL)
    words = ["compare", "small.toml", "--out", "compared", "--workers", 2]
    first = ra3(home, *words)
    assert first.returncode == 0, first.stderr + "".join(p.read_text() for p in (home / "compared/logs").iterdir())
    assert "3 of them owed" in first.stdout and "| ntp - base | known |" in first.stdout
    results = json.loads((home / "compared" / "results.json").read_text())
    assert [cell["system"] for cell in results["cells"]] == ["base", "ntp"]
    assert results["cells"][1]["cost"]["trained"] > 0 and results["cells"][1]["heldout"]["think_rate"] == 0
    assert "ra3 compare: small" in (home / "compared" / "compare.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (home / "compared").glob("*/files.json")}
    again = ra3(home, *words)
    assert "0 of them owed" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}
    (home / "small.toml").write_text(SMALL.replace("max_new_tokens = 4", "max_new_tokens = 5"))
    changed = ra3(home, *words)
    assert changed.returncode == 2 and "eval.max_new_tokens: 4 -> 5" in changed.stderr


def test_a_comparison_that_is_stopped_stops_its_commands_and_goes_on(home):
    (home / "stopped.toml").write_text(SMALL)
    words = ["compare", "stopped.toml", "--out", "stopped"]
    running = Started(home, words)
    running.wait_until((home / "stopped/base-1-eval/config.json").exists, timeout_s=200)
    running.signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.returncode == 143 and "stopped" in ended.stderr
    assert not (home / "stopped/ntp-1").exists() and (home / "stopped/compare.html").exists()
    again = ra3(home, *words)
    assert again.returncode == 0 and "| ntp - base | known |" in again.stdout


def test_a_cell_that_fails_is_named_and_the_others_run(home):
    broken = SMALL.replace('method = "ntp"', 'method = "distilled"\ncorpus.path = "nowhere"')
    (home / "broken.toml").write_text(broken)
    ended = ra3(home, "compare", "broken.toml", "--out", "failed")
    assert ended.returncode == 2 and "distilled" not in ended.stderr and "ntp-1 ended with 2" in ended.stderr
    assert [c["system"] for c in json.loads((home / "failed" / "results.json").read_text())["cells"]] == ["base"]
