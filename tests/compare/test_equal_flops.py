"""Equal FLOPs: what a twin gets, by hand; whom it is compared with; a real comparison whose twin takes the FLOPs."""

from __future__ import annotations

import json

import pytest
from cli_runs import ra3

from ra3.compare.definition import Comparison
from ra3.compare.equal_flops import Budget, Size, equalised, midtraining, rivals
from ra3.compare.results import Evaluation, compared
from ra3.compare.tables import budget_table
from ra3.run.ledger import Spent

COSTS = {
    ("estep-0", "rollouts"): Spent(flops=3e9), ("estep-0", "training"): Spent(flops=1e9, trained=500),
    ("annotate-0.1", "rollouts"): Spent(flops=2e9), ("heldout-base", "scoring"): Spent(flops=9e9),
    ("mstep-0", "training"): Spent(flops=8e9, trained=4000), ("mstep-1", "training"): Spent(flops=8e9, trained=4000),
}  # fmt: skip


SIZE = Size(em_rounds=2, updates=24, documents=200)


def test_the_cost_of_mid_training_leaves_measuring_out():
    found = midtraining(COSTS)
    assert (found["before"].flops, found["mstep"].flops, found["mstep"].trained) == (6e9, 16e9, 8000)


@pytest.mark.parametrize(
    ("flops", "settings"),
    [
        (22e9, {"midtrain.mstep.tokens": 4000}),  # its own cost: (22 - 6) / (16 / 8000) = 8000 tokens in two rounds
        (54e9, {"midtrain.mstep.tokens": 12000}),
        (55e9, {"midtrain.mstep.tokens": 12000}),  # thousands, rounded down
        (
            11e9,
            {"midtrain.estep.updates": 12, "corpus.documents": 100, "midtrain.mstep.tokens": 2000},
        ),  # half of it all
        (
            2.2e9,
            {"midtrain.estep.updates": 2, "corpus.documents": 20, "midtrain.mstep.tokens": 400},
        ),  # below a thousand
    ],
)
def test_what_is_left_goes_to_the_mstep_and_what_is_dearer_is_made_smaller(flops, settings):
    assert equalised(SIZE, midtraining(COSTS), flops) == settings


def test_without_an_mstep_the_updates_are_scaled():
    costs = {place: spent for place, spent in COSTS.items() if not place[0].startswith("mstep")}
    assert equalised(SIZE, midtraining(costs), 9e9) == {"midtrain.estep.updates": 36}
    assert equalised(SIZE, midtraining(costs), 3e9) == {"midtrain.estep.updates": 12}


def test_without_an_estep_dearer_text_is_cut_and_all_documents_stay():
    costs = {place: spent for place, spent in COSTS.items() if place[0].startswith("mstep")}
    assert equalised(SIZE._replace(updates=0), midtraining(costs), 12e9) == {"midtrain.mstep.tokens": 3000}
    assert equalised(SIZE, midtraining({}), 12e9) == {}


@pytest.mark.parametrize(
    ("against", "variant", "others"),
    [
        (("ntp",), "ra3", ["ntp", "ntp, equal FLOPs"]),
        (("ntp",), "iwae", ["ntp"]),
        (("ntp",), "iwae, equal FLOPs", ["ntp, equal FLOPs"]),
        (("ntp",), "ntp, equal FLOPs", []),
        (("ra3",), "ntp, equal FLOPs", ["ra3"]),
        (("ra3",), "ra3", []),
        (("ntp", "base"), "ra3", ["ntp", "ntp, equal FLOPs", "base"]),
        (("ntp", "base"), "iwae, equal FLOPs", ["ntp, equal FLOPs", "base"]),
        (("ntp", "base"), "ntp", ["base"]),
        (("ntp", "base"), "base", []),
        (("ra3", "ntp", "base"), "ra3", ["ntp", "ntp, equal FLOPs", "base"]),
        (("ra3", "ntp", "base"), "iwae, equal FLOPs", ["ra3", "ntp, equal FLOPs", "base"]),
        (("ra3", "ntp", "base"), "ntp, equal FLOPs", ["base"]),
    ],
)
def test_twins_are_compared_with_twins_and_the_reference_with_both(against, variant, others):
    comparison = Comparison("x", (), (1,), {}, (), against, equal_flops="ra3")
    assert list(rivals(comparison, variant)) == others


def test_the_table_says_what_the_twins_got_and_took():
    one = Budget("iwae", 1, 4e9, 6e9, {"midtrain.estep.updates": 12, "midtrain.mstep.tokens": 50_000})
    other = Budget("iwae", 2, 4e9, 6e9, {"midtrain.estep.updates": 11, "midtrain.mstep.tokens": 48_000})
    nothing = Budget("idle", 1, 4e9, 0.0, {})
    cells = [Evaluation("iwae, equal FLOPs", "iwae, equal FLOPs", 2, {}, cost={"flops": 5e9})]
    comparison = Comparison("x", (), (1, 2), {}, (), ("ra3",), equal_flops="ra3")
    table = budget_table(compared(comparison, cells, [one, other, nothing]))
    assert table.rows == [
        ("iwae", "150%", "updates = 12, 11; tokens = 50k, 48k", "1.25"), ("idle", "0%", "none: it costs nothing", ""),
    ]  # fmt: skip


SMALL = """\
seeds = [1]
against = "ntp"
equal_flops = "ra3"
[settings]
model.path = "tiny"
run.threads = 1
corpus.documents = 24
midtrain.em_rounds = 1
midtrain.estep.updates = 3
midtrain.estep.documents = 4
midtrain.estep.group_size = 2
midtrain.mstep.batch_documents = 2
eval.per_band = 1
eval.samples = 2
eval.k = [1]
eval.max_new_tokens = 4
[variants.ntp]
midtrain.method = "ntp"
[variants.ra3]
"""


def test_a_twin_takes_the_flops_of_the_reference(home):
    (home / "equal.toml").write_text(SMALL)
    planned = ra3(home, "compare", "equal.toml", "--out", "equal", "--dry-run")
    assert "1 cells at the FLOPs of ra3" in planned.stdout and planned.stdout.count("\nra3 midtrain") == 2
    ended = ra3(home, "compare", "equal.toml", "--out", "equal", "--workers", 2)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((home / "equal" / "results.json").read_text())
    cost = {cell["system"]: cell["cost"]["flops"] for cell in results["cells"]}
    assert set(cost) == {"ntp", "ra3", "ntp, equal FLOPs"}
    assert cost["ntp"] < 0.6 * cost["ra3"] and cost["ntp, equal FLOPs"] == pytest.approx(cost["ra3"], rel=0.2)
    assert {(row["a"], row["b"]) for row in results["differences"]} == {
        ("ra3", "ntp"), ("ra3", "ntp, equal FLOPs"),
    }  # fmt: skip
    again = ra3(home, "compare", "equal.toml", "--out", "equal")
    assert "3 cells, 6 commands, 0 of them owed" in again.stdout
