"""The report of whole runs: what it says is computed from the folder, and everything promised is on the page."""

import json
import re
from pathlib import Path

import pytest
from report_page import Page, read_page
from synthetic_runs import START, SYSTEMS, write_demo, write_run

from ra3.report.page import headline
from ra3.report.plots import learning_curves
from ra3.report.view import read_view, system_name
from ra3.run.folder import Run
from ra3.run.metrics import GLOSSARY


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return write_demo(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def demo_page(demo) -> Page:
    return read_page(demo)


def test_demo_headline_is_computed_from_the_results(demo_page):
    page = demo_page
    assert "On edge problems RA3 solves 58.0% at the first try, NTP 42.0% and base 30.0%" in page.text
    assert "after the same RLVR: RA3 86.0%, NTP 66.0%" in page.text
    assert "RA3 \u2212 NTP = +16.0 points; the two 95% intervals do not overlap." in page.text
    assert re.search(
        r"RLVR from RA3 reached the final pass rate of RLVR from NTP \(\d\d%\) after \d of 24 updates", page.text
    )


def test_demo_page_has_every_part(demo_page):
    page = demo_page
    for part in ("Results", "When it thinks", "Think rate by chain length", "Learning curves", "ELBO in the E-step"):
        assert part in page.text
    for part in ("Pass rate in RLVR", "No alarms.", "Early: round 0, step 0", "Late: round 0, step 23", "What was run"):
        assert part in page.text
    for part in (
        "58.0",
        "53.5 to 62.5",
        "100 problems each, 20 samples a problem",
        "midtrain.method",
        "Python".lower(),
    ):
        assert part in page.text
    assert page.tags.count("svg") == 7
    for key in ("elbo", "pass_rate", "expert_nll_act"):
        assert GLOSSARY[key].meaning in page.text
    assert "var(--ra3)" in page.source and "prefers-color-scheme:dark" in page.style


def test_colours_are_the_same_in_every_part(demo_page):
    page = demo_page
    assert "#0a0b" not in page.source and "#0101" not in page.source  # every placeholder became a CSS variable
    for name in ("base", "ntp", "ra3"):
        assert page.source.count(f"var(--{name})") > 3


def test_token_credit_is_shown(demo_page):
    source = demo_page.source
    assert '<span class="intention">' in source
    assert re.search(r'<span class="decision p8" title="decision · log-prob −0.1 · advantage 1.4">#</span>', source)
    assert re.search(r'class="latent n\d"', source)
    assert '<span class="badge good">passed</span>' in source and '<span class="badge bad">wrong</span>' in source


def test_the_report_is_the_same_each_time_and_changes_nothing_else(demo, demo_page):
    def content() -> dict[str, bytes]:
        files = (path for path in demo.rglob("*") if path.is_file() and path.name != "report.html")
        return {str(path): path.read_bytes() for path in files}

    before = content()
    assert read_page(demo).source == demo_page.source and content() == before


def test_honest_when_ra3_loses_or_nothing_is_settled(tmp_path):
    def rows(**means: float) -> list[dict]:
        return [
            {"model": m, "band": "edge", "metric": "pass@1", "mean": x, "low": x - 0.05, "high": x + 0.05}
            for m, x in means.items()
        ]

    with Run.create(tmp_path, "a", {}, "demo") as run:
        run.write_json("results.json", {"rows": rows(ra3=0.40, ntp=0.60)})
        assert headline(read_view(run.folder))[0] == "On edge problems NTP solves 60.0% at the first try, RA3 40.0%."
        run.write_json("results.json", {"rows": rows(ra3=0.42, ntp=0.40)})
        assert "overlap: one run does not settle it" in headline(read_view(run.folder))[1]
        paired = {"a": "ra3", "b": "ntp", "band": "edge", "metric": "pass@1", "mean": 0.02, "low": -0.01, "high": 0.05}
        run.write_json("results.json", {"rows": rows(ra3=0.42, ntp=0.40), "differences": [paired]})
        assert (
            "paired 95% interval \u22121.0 to +5.0: chance alone could explain it" in headline(read_view(run.folder))[1]
        )


def test_single_run_is_called_by_its_method(tmp_path):
    folder = write_run(tmp_path, "ra3", results=False)
    page = read_page(folder)
    assert "RA3: the E-step has moved the ELBO from" in page.text and "in 24 updates" in page.text
    assert "No results yet" in page.text and "var(--ra3)" in page.source
    assert "not finished; go on with" in page.text and "--resume" in page.text


def test_long_courses_are_thinned_and_rounds_are_marked(tmp_path):
    with Run.create(tmp_path, "ra3", {}, "midtrain") as run:
        lines = [{"stage": "estep", "round": i // 500, "step": i, "elbo": i} for i in range(1000)]
        run.path("metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (plot,) = learning_curves(read_view(run.folder))
    assert plot.title == "ELBO in the E-step" and len(plot.svg) < 40_000


def test_the_same_document_is_shown_on_both_sides_if_it_can_be(tmp_path):
    with Run.create(tmp_path, "ra3", {}, "midtrain") as run, run.path("rollouts.jsonl").open("w") as file:
        for step, documents in ((0, "abc"), (5, "xyz"), (9, "dbe")):
            for document in documents:
                tokens = [{"text": document, "role": "expert"}]
                record = {"stage": "estep", "round": 0, "step": step, "document": f"doc-{document}", "tokens": tokens}
                file.write(json.dumps({**record, "reward": 1.0}) + "\n")
    text = read_page(tmp_path / "ra3").text
    assert text.count("doc-b") == 2 and "doc-x" not in text and "doc-a" not in text


def test_view_of_the_demo(demo):
    view = read_view(demo)
    names = [name for name, _ in view.systems]
    assert names == [system_name(name) for name in SYSTEMS] == list(START)
    assert len(view.results.scores) == 5 * 3 * 2 and {len(own) for own in view.results.curves.values()} == {20}


def test_outer_results_go_before_inner_ones(tmp_path):
    row = {"model": "ra3", "band": "edge", "metric": "pass@1", "mean": 0.99, "low": 0.9, "high": 1.0}
    with Run.create(tmp_path, "demo", {}, "demo") as run:
        run.write_json("results.json", {"rows": [row]})
        write_run(run.folder, "ra3", updates=1)
    view = read_view(tmp_path / "demo")
    assert next(s.mean for s in view.results.scores if (s.band, s.metric) == ("edge", "pass@1")) == 0.99
    assert [name for name, _ in view.systems] == ["ra3"]


def test_held_out_measures_have_models_across_and_no_interval_where_there_is_none(tmp_path):
    with Run.create(tmp_path, "a", {"midtrain": {"method": "ra3"}}, "midtrain") as run:
        rows = [
            {
                "model": m,
                "band": "heldout",
                "metric": "nll_per_token_given_latents",
                "mean": x,
                "low": x,
                "high": x + 0.1,
            }
            for m, x in (("ra3", 0.25), ("base", 0.5))
        ]
        f1 = {"model": "ra3", "band": "heldout", "metric": "boundary_f1", "mean": 0.8, "low": 0.8, "high": 0.8}
        run.write_json("results.json", {"rows": [*rows, f1]})
    page = read_page(tmp_path / "a")
    assert "with the intentions each model writes: base 0.5, RA3 0.25." in page.text
    assert "nll per token given latents" in page.text and "boundary f1, %\u201380.0" in page.text
    assert page.source.count('class="bar"') == 2 and "Measured on text that was held out." in page.text


def test_results_without_a_headline_of_their_own_still_have_one(tmp_path):
    with Run.create(tmp_path, "a", {}, "eval") as run:
        run.write_json("results.json", {"rows": [{"model": "m", "band": "b", "metric": "score", "mean": 3}]})
    assert "The results are in the table below." in read_page(tmp_path / "a").text


def test_reach_and_found_abstractions_are_shown_where_they_are_measured(tmp_path):
    curve = [{"model": "ra3", "x": k, "mean": m, "low": m, "high": m} for k, m in ((1, 0.2), (2, 0.3), (4, 0.5))]
    word = {
        "word": "sort",
        "count": 12,
        "comments": 9,
        "example": "# <sort> it",
        "code": "    y = 1\n",
        "code_share": 0.75,
    }
    with Run.create(tmp_path, "a", {"midtrain": {"method": "ra3"}}, "midtrain") as run:
        run.write_json(
            "results.json", {"rows": [], "curves": {"pass_on_edge_by_k": curve}, "abstractions": [word, {}, 3]}
        )
    page = read_page(tmp_path / "a")
    assert "What is reachable" in page.text and "pass@k on edge" in page.text
    assert "Found abstractions" in page.text and "# <sort> it" in page.text and "75%" in page.text
    assert "When it thinks" not in page.text


def test_held_out_code_is_shown_file_by_file_with_what_its_intentions_gain(tmp_path):
    code = {"document": "a.py", "text": "def f():\n    # <go>\n    return 1\n", "latents": [[13, 24]]}
    context = "".join(f"import m{n}\n" for n in range(30))
    codes = [
        {**code, "model": "base"},  # as runs before had it: no gains
        {**code, "model": "ra3", "gains": [-2.25], "context": context},
        {"model": "ra3", "document": "plain.py", "text": "".join(f"x{n} = {n}\n" for n in range(60)), "latents": []},
    ]
    with Run.create(tmp_path, "a", {"midtrain": {"method": "ra3"}}, "midtrain") as run:
        run.write_json("results.json", {"rows": [], "codes": [*codes, {"model": "ra3"}]})
    page = read_page(tmp_path / "a")
    assert page.text.count("1 intention") == 2 and page.text.count("0 intentions") == 1
    assert "def f():\n    # <go>\n    return 1" in page.text
    assert page.source.count("\u22122.2 bits") == 3, "beside the file, the model and the intention"
    assert '<span class="comment"># &lt;go&gt;</span>\n    return 1' in page.source, "the mark goes on to the next line"
    assert page.source.count('<details class="file" name="file" open>') == 1
    assert f"<summary>context, 30 lines</summary>{context}</details>" in page.source
    assert "<summary>44 lines</summary>x12 = 12\n" in page.source
    assert re.search(r"RA3</th><td>2</td><td>1</td><td>1</td><td>\u22122.25</td>", page.source)
    assert "things that are no results" in page.text


def test_a_saved_model_is_no_run_of_its_own(tmp_path):
    folder = write_run(tmp_path, "ra3", updates=1)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    ((name, run),) = read_view(folder).systems
    assert name == "ra3" and run.has_model


def test_what_has_no_verdict_is_an_alarm(tmp_path):
    run = write_run(tmp_path, "ra3", updates=1)
    results = json.loads((run / "results.json").read_text())
    results["problems"] = [
        {"model": "ra3", "band": "edge", "id": "f-1", "judged": 3, "passed": 3, "reasons": {"passed": 3, "infra": 1}}
    ]
    (run / "results.json").write_text(json.dumps(results))
    page = read_page(run)
    assert "f-1: 1 without a verdict" in page.text and "No alarms." not in page.text
