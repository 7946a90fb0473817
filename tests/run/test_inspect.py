"""The reader of run folders: typed records of what is there, a sentence for what cannot be read."""

from __future__ import annotations

import json
import math
import shutil

import pytest
from small_runs import copy

from ra3.errors import UserError
from ra3.run.inspect import RecordedToken, finished_run, inspect_run, read_rollouts
from ra3.run.results import LatentEntry, Results, Score


def test_a_finished_run_is_read_as_records(whole):
    run = finished_run(whole)
    assert run.state == "finished" and run.troubles == [] and run.has_model
    assert run.settings["midtrain.estep.updates"] == 3 and run.settings["run.name"] == "whole"
    assert run.facts.command == "midtrain" and "--run.name whole" in run.facts.resume
    assert (run.facts.corpus.documents, run.facts.corpus.heldout) == (8, 0)
    (attempt,) = run.facts.attempts
    assert attempt.attempt == 1 and attempt.made_by == f"ra3 {attempt.versions['ra3']} {attempt.code}"
    assert {stage: len(lines) for stage, lines in run.stages.items()} == {"estep": 3, "mstep": 2}
    assert [line.step for line in run.stages["estep"]] == [0, 1, 2] and run.stages["estep"][0].values["elbo"] < 0
    assert run.costs["mstep-0", "training"].trained > 0
    assert run.results.latents and isinstance(run.results.latents[0], LatentEntry)


def test_what_cannot_be_read_becomes_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text("[1]")
    (tmp_path / "environment.json").write_text('{"command": "rlvr", "argv": 3, "earlier": [{"attempt": "x"}]}')
    score = {"model": "m", "band": "edge", "metric": "pass@1", "mean": 0.5}
    (tmp_path / "results.json").write_text(json.dumps({"rows": [score, 3, {**score, "mean": "high"}], "curves": []}))
    (tmp_path / "metrics.jsonl").write_text('{"stage": "rlvr", "step": 1, "loss": "x"}\nnonsense\n\n{"half')
    run = inspect_run(tmp_path)
    assert run.troubles == [
        "config.json cannot be read: this file must hold a JSON object",
        "results.json holds 3 things that are no results",
        "metrics.jsonl has 2 lines that are no JSON objects",
        "environment.json holds something else than ra3 wrote: argv, earlier",
    ]
    assert run.settings == {} and run.facts.command == "?" and run.results.scores == [Score(**score)]
    (line,) = run.stages["rlvr"]
    assert (line.stage, line.em_round, line.step) == ("rlvr", 0, 1) and math.isnan(line.values["loss"])


def test_what_is_missing_is_empty(tmp_path):
    run = inspect_run(tmp_path)
    assert (run.state, run.settings, run.stages, run.costs, run.results) == ("stopped", {}, {}, {}, Results())
    assert run.troubles == [] and not run.has_model and read_rollouts(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("results.json", "{}", "results.json is not as the run left it"),
        ("metrics.jsonl", None, "metrics.jsonl is missing"),
        ("environment.json", None, "environment.json is missing"),
        ("environment.json", '{"format": 2, "versions": [1]}', "environment.json holds something else than ra3 wrote"),
        ("ledger.jsonl", None, "ledger.jsonl is missing"),
        ("ledger.jsonl", "half a line", "ledger.jsonl has 1 lines that are no JSON objects"),
        ("files.json", "[]", "files.json is missing or holds no checksums"),
    ],
)
def test_a_comparison_refuses_a_run_that_was_changed(whole, name, text, told):
    folder = copy(whole, "changed")
    try:
        (folder / name).unlink() if text is None else (folder / name).write_text(text)
        with pytest.raises(UserError, match=f"changed: {told}"):
            finished_run(folder)
    finally:
        shutil.rmtree(folder)


def test_rollouts_of_the_first_and_last_step_of_each_stage(tmp_path):
    token = {"text": "x", "role": "latent", "advantage": 0.5, "logp": -0.1}
    lines = [
        {"stage": stage, "round": 0, "step": step, "document": f"{stage}-{step}-{sample}", "tokens": [token]}
        for stage, steps in (("estep", (0, 5, 9)), ("rlvr", (0,)))
        for step in steps
        for sample in (0, 1)
    ]
    lines.insert(3, {**lines[3], "tokens": [{"text": 3}]})
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_rollouts(tmp_path)
    estep, rlvr = found["estep"], found["rlvr"]
    assert (list(estep), list(rlvr)) == ([(0, 0), (0, 9)], [(0, 0)])
    assert [r.document for r in estep[0, 0]] == ["estep-0-0", "estep-0-1"]
    assert [r.document for r in estep[0, 9]] == ["estep-9-0", "estep-9-1"]
    assert estep[0, 0][0].tokens == (RecordedToken("x", "latent", 0.5, -0.1),)
