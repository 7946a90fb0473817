"""The report from folders that are partial, broken, hostile or huge: a page in plain sentences, never a crash."""

import json
import math

import pytest
from report_page import Page, assert_harmless, read_page
from synthetic_runs import write_run

from ra3.errors import UserError
from ra3.report import write_report
from ra3.report.page import render
from ra3.run.folder import Run

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$\\frac{x$ \x00\u202e\ud800 <!-- ]]>"


def test_partial_folders_say_so_in_plain_sentences(tmp_path):
    with Run.create(tmp_path, "empty", {}, "midtrain") as run:
        text = read_page(run.folder).text
        for sentence in (
            "Nothing has been measured yet.",
            "No metrics have been written yet.",
            "No rollouts have been",
        ):
            assert sentence in text
        run.path("metrics.jsonl").write_text("")
        run.path("rollouts.jsonl").write_text('{"stage": "estep", "tokens": []}\n{"stage": "estep"}\n')
        run.path("results.json").write_text('{"rows": []}')
        read_page(run.folder)
        run.path("config.json").unlink()
        run.path("environment.json").unlink()
        assert "Not recorded." in read_page(run.folder).text


def test_interrupted_demo_compares_what_is_there(tmp_path):
    for name in ("base", "ntp"):
        write_run(tmp_path / "demo", name)
    write_run(tmp_path / "demo", "ra3", updates=1, results=False)
    page = read_page(tmp_path / "demo")
    assert "On edge problems NTP solves 42.0% at the first try, base 30.0%." in page.text
    assert "Only one step has been recorded so far." in page.text


BROKEN = {
    "results.json": [
        '{"rows": [{"mean": "x"}, 3, null, {"model": "m", "mean": 0.5}], "curves": {"c": [1]}}',
        '{"rows": [{"model": "ra3", "band": "edge", "metric": "pass@1", "mean": "nan", "low": "-inf", "high": "inf"}], '
        '"curves": {"c_by_k": [{"model": "m", "x": "inf", "mean": 1}, {"model": "m", "x": 1, "mean": "nan"}]}}',
        "[]",
        "{",
        "null",
    ],
    "config.json": ["[1]", '{"midtrain": 3}', ""],
    "environment.json": ['{"format": 2, "argv": 3, "earlier": 5, "resume": {"a": 1}, "versions": [1]}', "nonsense"],
    "metrics.jsonl": [
        '{"stage": 3, "step": "x", "elbo": "high"}\n{"stage": "estep", "elbo": [1], "round": {}}\n{"loss": 1e400}',
        '{"stage": "estep", "elbo": "nan"}\n{"stage": "estep", "elbo": "inf", "entropy": null}\n',
    ],
    "ledger.jsonl": ['{"wall_s": [1], "stage": {"a": 1}}\n{"stage": "x", "phase": 3, "wall_s": 1e999, "flops": "x"}'],
    "rollouts.jsonl": [
        '{"tokens": [3, null, {"text": 5, "advantage": "x", "role": ["a"]}], "reward": "x", "step": {}, "round": null}',
        '{"stage": "rlvr", "step": 1e300, "tokens": "abc"}\n{"stage": "rlvr", "tokens": [{"advantage": 1e999}]}',
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BROKEN.items() for text in texts])
def test_broken_files_never_crash_the_report(tmp_path, name, text):
    folder = write_run(tmp_path, "ra3", updates=3)
    (folder / name).write_text(text)
    page = read_page(folder)
    if name.endswith(".json") and not text.startswith('{"'):
        assert f"ra3/{name}" in page.text


def test_hostile_text_stays_text(tmp_path):
    folder = write_run(tmp_path / "demo", "ra3", updates=2)
    with Run.create(tmp_path / "demo", "x<script>y$_{", {"k<b>": {HOSTILE: HOSTILE}}, HOSTILE) as run:
        row = {"model": HOSTILE, "band": HOSTILE, "metric": HOSTILE, "mean": 0.5, "low": 0.4, "high": 0.6}
        point = {"model": HOSTILE, "x": 1, "mean": 0.5, "low": 0.4, "high": 0.6}
        curves = {f"{HOSTILE}_by_{HOSTILE}": [point, {**point, "x": 2}]}
        run.write_json("results.json", {"rows": [row], "curves": curves, "differences": [row]})
        run.add_facts(resume=HOSTILE, argv=[HOSTILE])
        tokens = [{"text": HOSTILE, "role": role, "advantage": 1.0, "logp": -0.1} for role in ("latent", HOSTILE)]
        texts = dict.fromkeys(("stage", "document", "verdict", "opener"), HOSTILE)
        record = {**texts, "round": 0, "step": 0, "sample": 0, "tokens": tokens}
        broken = {**record, "tokens": [{"text": HOSTILE, "role": HOSTILE, "logp": HOSTILE}]}
        run.path("rollouts.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(broken)}\n")
        run.path("metrics.jsonl").write_text(json.dumps({"stage": HOSTILE, HOSTILE: 1.0, "step": HOSTILE}) + "\n")
    assert read_page(folder.parent).text.count("alert(1)") > 5


def test_size_stays_bounded(tmp_path):
    folder = write_run(tmp_path, "ra3", updates=2)
    tokens = [{"text": f"token_{i} ", "role": "latent", "advantage": math.sin(i), "logp": -1.0} for i in range(3000)]
    with (folder / "rollouts.jsonl").open("a") as file:
        for stage in range(12):
            for sample in range(3):
                record = {"stage": f"s{stage}", "document": "d", "sample": sample, "reward": sample, "tokens": tokens}
                file.write(json.dumps(record) + "\n")
    with (folder / "metrics.jsonl").open("a") as file:
        for step in range(30_000):
            file.write(json.dumps({"stage": "mstep", "step": step, "expert_nll": math.sin(step / 900)}) + "\n")
    text = read_page(folder).text
    assert "more tokens" in text and "more stages are in rollouts.jsonl" in text


def test_500_documents_of_real_size_are_shown_and_what_would_be_too_much_is_left_out(tmp_path):
    line = "    total = total + values[index] * weights[index]  # as before\n"
    codes = [
        {"model": model, "document": f"m{n}.py", "text": line * 60, "latents": [[0, len(line)]], "gains": [1.5]}
        for model, count in (("ra3", 500), ("base", 20)) for n in range(count)
    ]  # fmt: skip
    with Run.create(tmp_path, "a", {}, "midtrain") as run:
        run.write_json("results.json", {"rows": [], "codes": codes})
        page = Page(write_report(run.folder))
        assert_harmless(page)
        assert page.source.count('<details class="file"') == 500 and len(page.source) < 6_000_000
        run.write_json("results.json", {"rows": [], "codes": [{**codes[0], "text": line * 90_000}, codes[1]]})
        assert "1 more documents are in results.json" in Page(write_report(run.folder)).text


def test_no_run_is_an_error_in_words(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        write_report(tmp_path)
    with pytest.raises(UserError, match=r"there is no such run folder(?s:.*)a run printed when it started"):
        write_report(tmp_path / "missing")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="run folders there: .*first"):
        write_report(tmp_path / "frist")


def test_templates_escape_and_show_what_would_be_hidden(tmp_path):
    (tmp_path / "own.txt").write_text("{{ text }} {{ 'x' ~ text }}")
    shown = "a\\u0000\\u202e\\ud800&lt;&amp;&#34;&#39;&gt;\n\t"
    assert render(tmp_path / "own.txt", text="a\x00\u202e\ud800<&\"'>\n\t") == f"{shown} x{shown}"
