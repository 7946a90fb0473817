"""`ra3 sweep`: what its words ask for, what is wrong in them, and a real sweep to its end."""

from __future__ import annotations

import json
import re

import pytest
from cli_runs import ra3

from ra3.compare.definition import Line
from ra3.compare.figures import Palette, setting_plot
from ra3.compare.results import Evaluation
from ra3.compare.sweeps import swept
from ra3.errors import UserError


def test_every_combination_is_a_variant_and_every_setting_has_a_figure():
    found = swept(["c=inf,0,0.5", "em_rounds=1,2", "eval.per_band=8"], None, "3,4", rlvr=False)
    assert found.name == "sweep-c-em-rounds" and found.seeds == (3, 4) and found.rlvr == ()
    assert len(found.variants) == 6 and found.against == ("c = 0.0, em_rounds = 1",)
    assert found.variants["c = 0.5, em_rounds = 2"] == {
        "eval.per_band": "8", "midtrain.estep.switch_penalty": "0.5", "midtrain.em_rounds": "2",
    }  # fmt: skip
    price, rounds = found.figures
    assert [name for name, _ in price.lines[0].points] == ["0.0", "0.5", "inf"]
    assert price.lines[1].name == "em_rounds = 2" and len(rounds.lines) == 3
    assert rounds.lines[0] == Line(
        "c = 0.0",
        (("1", "c = 0.0, em_rounds = 1"), ("2", "c = 0.0, em_rounds = 2")),
    )


def test_the_recipes_own_value_is_what_the_others_are_compared_with():
    assert swept(["horizon=1,5"], "demo", "1", rlvr=True).against == ("H = 5",)
    assert swept(["likelihood=mean,sum"], None, "1", rlvr=True).rlvr == ("likelihood = mean", "likelihood = sum")


def test_values_that_need_another_setting_are_read_beside_it():
    found = swept(["latent_dropout=0.1,0.2", "format_penalty=4"], None, "1", rlvr=False)
    assert list(found.variants) == ["latent_dropout = 0.1", "latent_dropout = 0.2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gamma"], "cannot read 'gamma'"),
        (["gamma=0.5,,1"], "cannot read"),
        (["gama=0.5,1"], "did you mean midtrain.estep.gamma"),
        (["learning_rate=1,2"], "midtrain.mstep.learning_rate, rlvr.learning_rate"),
        (["gamma=1"], "nothing to sweep"),
        (["gamma=1,1.0"], "has a value twice"),
        (["gamma=0.5,1", "estep.gamma=0,1"], "given twice"),
        (["G=4,8", "group-size=2,4"], "midtrain.estep.group_size is given twice"),
        (["gamma=1,7"], "midtrain.estep.gamma cannot be"),
        (["seed=1,2"], "give --seeds"),
        (["eval.k=1,2"], "is a list itself"),
        (["group_size=1,8"], "nothing to compare with"),
        (["method=ra3,npt"], "did you mean ntp"),
    ],
)
def test_what_is_wrong_is_said(words, said):
    with pytest.raises(UserError, match=re.escape(said)):
        swept(words, None, "1", rlvr=False)


@pytest.mark.parametrize(("seeds", "said"), [("x", "--seeds cannot be 'x'"), ("1,1", "a seed is there twice")])
def test_wrong_seeds_are_refused(seeds, said):
    with pytest.raises(UserError, match=re.escape(said)):
        swept(["gamma=0.5,1"], None, seeds, rlvr=False)


def test_a_figure_has_one_sentence():
    """Means 0.3 and 0.6; paired by seed 0.2 and 0.4 apart: +30.0, half width 12.706 * 0.1 = 127.1 points."""
    found = swept(["gamma=0.5,1"], None, "1,2", rlvr=False)
    scores = {("gamma = 0.5", 1): 0.2, ("gamma = 1.0", 1): 0.4, ("gamma = 0.5", 2): 0.4, ("gamma = 1.0", 2): 0.8}
    cells = [Evaluation(s, s, seed, {"edge pass@1": x}) for (s, seed), x in scores.items()]
    plot = setting_plot(found.figures[0], cells, Palette.of(list(found.variants), found.figures))
    assert plot is not None and plot.title == "gamma"
    assert plot.caption.endswith("Best 1.0 (60.0), worst 0.5 (30.0).")


def test_a_sweep_runs_and_goes_on(home):
    fixed = ["model.path=tiny", "threads=1", "corpus.documents=8", "batch_documents=4", "per_band=1", "eval.samples=10"]
    words = ["sweep", "method=ntp", "mstep.tokens=200,400", *fixed, "eval.max_new_tokens=4", "--seeds", "1"]
    ended = ra3(home, *words)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((home / "runs" / "sweep-tokens" / "results.json").read_text())
    trained = {cell["system"]: cell["cost"]["trained"] for cell in results["cells"]}
    assert trained["tokens = 200"] < trained["tokens = 400"]
    page = (home / "runs" / "sweep-tokens" / "compare.html").read_text()
    assert "<h3>tokens</h3>" in page and "pass@k on edge" in page
    assert "0 of them owed" in ra3(home, *words).stdout
