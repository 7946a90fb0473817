"""Metric files: same numbers, same bytes; whole lines; cut back to a checkpoint; every key explained."""

import json
import math
from contextlib import closing

import pytest

from ra3.errors import UserError
from ra3.run.files import drop_partial_line, number, read_lines
from ra3.run.folder import Run
from ra3.run.metrics import GLOSSARY, Metrics

KEYS = {
    "think_rate",
    "option_duration",
    "comment_tokens",
    "expert_nll",
    "expert_nll_act",
    "latent_gain",
    "copy_rate",
    "echo_rate",
    "dead_groups",
    "entropy",
    "logp_gap_max",
    "elbo",
    "reward",
    "return",
    "switch_penalty",
    "clip_share",
    "grad_norm",
    "loss",
    "nll_total",
    "learning_rate",
    "pass_rate",
    "truncated",
    "infra",
    "tokens_generated",
    "tokens_trained",
    "advantage_std",
}


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path, "a", {}, "midtrain") as run:
        yield run


def test_lines_are_sorted_rounded_and_finite_json(run):
    with closing(Metrics(run)) as metrics:
        metrics.log("estep", 0, 3, {"z": 1 / 3, "a": float("nan"), "m": float("-inf"), "n": 2})
    expected = '{"a": "nan", "m": "-inf", "n": 2.0, "round": 0, "stage": "estep", "step": 3, "z": 0.3333333333}\n'
    assert run.path("metrics.jsonl").read_text() == expected


def test_metrics_hold_no_clock(run):
    with closing(Metrics(run)) as metrics:
        metrics.log("rlvr", 1, 0, {"loss": 1.0})
    assert set(next(read_lines(run.path("metrics.jsonl")))) == {"stage", "round", "step", "loss"}


def test_lines_are_on_disk_when_the_call_returns(run):
    with closing(Metrics(run)) as metrics:
        metrics.log("estep", 0, 0, {"loss": 0.0})
        metrics.rollout({"stage": "estep", "tokens": [{"text": "\ud800\n", "logp": float("nan")}]})
        assert len(list(read_lines(run.path("metrics.jsonl")))) == 1
        assert next(read_lines(run.path("rollouts.jsonl")))["tokens"] == [{"text": "\ud800\n", "logp": "nan"}]


def write(run: Run, steps: range, position: dict | None = None, cut: bool = False) -> dict[str, int]:
    """Log `steps`; returns the position after half of them."""
    with closing(Metrics(run)) as metrics:
        if cut:
            metrics.truncate_to(position or {})
        half = {}
        for step in steps:
            if step == steps.start + len(steps) // 2:
                half = metrics.position()
            metrics.log("estep", 0, step, {"loss": 1 / (step + 1)})
            metrics.rollout({"step": step})
        return half


def test_resume_equals_an_uninterrupted_run(run, tmp_path):
    with Run.create(tmp_path, "b", {}, "midtrain") as whole:
        write(whole, range(10))
        middle = write(run, range(6))
        with run.path("metrics.jsonl").open("ab") as file:
            file.write(b'{"killed in mid-')
        write(run, range(3, 10), middle, cut=True)
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            assert run.path(name).read_bytes() == whole.path(name).read_bytes()


def test_without_a_checkpoint_everything_is_dropped(run):
    write(run, range(4))
    with closing(Metrics(run)) as metrics:
        metrics.truncate_to({})
        assert metrics.position() == {"metrics.jsonl": 0, "rollouts.jsonl": 0}


@pytest.mark.parametrize("half", ['{"half', json.dumps({"text": "x" * 200_000}), ""])
def test_an_unfinished_last_line_is_dropped(tmp_path, half):
    path = tmp_path / "x.jsonl"
    drop_partial_line(path)
    assert not path.exists()
    for whole in ("", "{}\n", "{}\n{}\n"):
        path.write_text(whole + half)
        drop_partial_line(path)
        assert path.read_text() == whole


def test_a_full_disk_is_one_clear_message(run):
    run.path("metrics.jsonl").symlink_to("/dev/full")
    with (
        closing(Metrics(run)) as metrics,
        pytest.raises(UserError, match=r"cannot write metrics.jsonl: the disk is full(.|\n)*--resume"),
    ):
        metrics.log("estep", 0, 0, {"loss": 0.0})


def test_a_key_that_places_the_line_is_a_mistake_of_the_caller(run):
    with closing(Metrics(run)) as metrics, pytest.raises(AssertionError, match="place a line"):
        metrics.log("estep", 0, 0, {"step": 1.0})


def test_read_lines_passes_over_what_is_broken(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n[1]\nnonsense\n\xff\xfe\n{"a": "nan"}\n{"half')
    assert list(read_lines(path)) == [{"a": 1}, {"a": "nan"}]
    assert list(read_lines(tmp_path / "missing.jsonl")) == []


def test_number():
    assert number(2) == 2.0 and number("inf") == math.inf and number("0.5") == 0.5
    assert all(math.isnan(number(value)) for value in ("nan", None, [1], "x", {}, 10**400))


def test_every_promised_metric_is_explained():
    assert set(GLOSSARY) >= KEYS
    assert all(all(text.strip() for text in entry[:3]) for entry in GLOSSARY.values())
