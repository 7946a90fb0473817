"""A special token as the opener of intentions, through the command line: learned with, kept, known, run and graded."""

from __future__ import annotations

import json
import math
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from cli_runs import Started, ra3
from safetensors.torch import load_file
from small_runs import RLVR, SMALL, refused, same, undisturbed
from transformers import AutoModelForCausalLM, AutoTokenizer

from ra3.model.load import LATENT_TOKEN_KEY
from ra3.model.policy import Policy

PLAN = "<|plan|>"


@pytest.fixture(scope="module")
def run(home) -> Path:
    """A small run of mid-training from the shipped base with the token."""
    words = ["midtrain", "--model.opener", PLAN, "--run.name", "plan", *SMALL, "--corpus.heldout", 0.2]
    return undisturbed(home, words)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_mid_training_learns_with_the_token(run):
    steps = [m for m in read(run / "metrics.jsonl") if m["stage"] == "estep"]
    assert all(m["think_rate"] > 0 and m["logp_gap_max"] < 1e-4 for m in steps)
    assert json.loads((run / "environment.json").read_text())["opener"] == PLAN
    annotated = read(run / "annotated.jsonl")
    think = AutoTokenizer.from_pretrained(run / "model").convert_tokens_to_ids(PLAN)
    assert sum(record["ids"].count(think) for record in annotated) == sum(len(r["latents"]) for r in annotated) > 0
    assert all(r["text"][start] == "#" for r in annotated for start, _ in r["latents"])
    assert re.search(r'<span class="intention"><span [^>]*>&lt;\|plan\|&gt;', (run / "report.html").read_text())


def test_plain_transformers_loads_the_model(run):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(run / "model"), AutoTokenizer.from_pretrained(run / "model")
    ids = tokenizer(f"def ba(x):\n{PLAN} ba ke\n", return_tensors="pt")["input_ids"]
    assert model.config.latent_opener == PLAN and tokenizer.convert_tokens_to_ids(PLAN) in ids
    policy = Policy.load(run / "model", "pretrained", torch.float32, torch.device("cpu"), 0)
    own = policy.logits(policy.hidden(ids, torch.arange(ids.shape[1])[None]))
    assert torch.allclose(model(ids).logits, own, atol=1e-4)


def beyond(reply: str, completion: str) -> list[str]:
    """The lines of a reply that its completion lacks."""
    return list((Counter(reply.splitlines()) - Counter(completion.splitlines())).elements())


def test_later_commands_know_the_opener(run, home):
    own = ["--model", run / "model", "--eval.per-band", 4, "--eval.samples", 6, "--eval.k", 1, "--run.threads", 1]
    folder = undisturbed(home, ["eval", *own, "--run.name", "plan-eval"])
    samples = read(folder / "samples.jsonl")
    thought = [s for s in samples if "reply" in s]
    more = [line for s in thought for line in beyond(s["reply"], s["completion"])]
    assert thought and all(line.lstrip().startswith("#") for line in more)
    assert not any(line.startswith(PLAN) for s in samples for line in s["completion"].splitlines())
    curves = json.loads((folder / "results.json").read_text())["curves"]
    assert max(point["mean"] for point in curves["comment_right_by_chain"]) > 0
    graded = ["eval", "--samples", folder / "samples.jsonl", *own[2:], "--run.name", "plan-graded"]
    again = read(undisturbed(home, graded) / "samples.jsonl")
    assert [s["passed"] for s in again] == [s["passed"] for s in samples]


def test_spelled_out_samples_are_graded_without_their_intentions(home):
    task = {"id": "a", "prompt": "def a(x):\n", "entry_point": "a", "tests": [{"args": [1], "expected": 1}]}
    (home / "task.jsonl").write_text(json.dumps(task) + "\n")
    sample = {"task_id": "a", "completion": f"{PLAN} give it back\n    return x\n"}
    (home / "spelled.jsonl").write_text(json.dumps(sample) + "\n")
    words = ["eval", "--samples", "spelled.jsonl", "--eval.problems", "task.jsonl", "--eval.k", 1]
    told = undisturbed(home, [*words, "--model.opener", PLAN, "--run.name", "told"])
    untold = undisturbed(home, [*words, "--run.name", "untold"])
    (right,), (wrong,) = (read(folder / "samples.jsonl") for folder in (told, untold))
    assert right["passed"] and right["completion"] == "    return x\n"
    assert right["reply"] == "# give it back\n    return x\n"
    assert wrong["reason"] == "syntax"


def test_annotated_files_hold_comments(run, home):
    words = ["annotate", "--model", run / "model", "--corpus.documents", 8, "--out", "commented", "--check"]
    ended = ra3(home, *words, "--run.threads", 1)
    assert ended.returncode == 0 and "8 compile" in ended.stdout, ended.stderr
    lines = read(home / "commented" / "manifest.jsonl")
    assert sum(len(line["latents"]) for line in lines) > 0
    texts = [file.read_text() for file in (home / "commented").rglob("*") if file.is_file()]
    assert not any(PLAN in text for text in texts if not text.startswith("{"))


def test_rlvr_goes_on_from_the_model(run, home):
    words = ["rlvr", "--model", run / "model", *RLVR, "--rlvr.max-new-tokens", 48, "--rlvr.samples", 8]
    folder = undisturbed(home, [*words, "--run.name", "plan-rlvr"])
    steps = read(folder / "metrics.jsonl")
    assert max(m["reward"] for m in steps) > 0 and max(m.get("logp_gap_max", 0) for m in steps) < 1e-4
    assert json.loads((folder / "model" / "config.json").read_text())[LATENT_TOKEN_KEY] == PLAN


def test_it_stops_and_goes_on(run, home):
    words = ["midtrain", "--model.opener", PLAN, "--run.name", "again", *SMALL, "--corpus.heldout", 0.2]
    started, metrics = Started(home, words), home / "runs" / "again" / "metrics.jsonl"
    started.wait_until(lambda: metrics.exists() and metrics.read_bytes())
    started.signal(signal.SIGINT)
    assert started.wait().returncode != 0
    other = ra3(home, *words, "--model.opener", "<|other|>", "--resume")
    refused(other, 'model.opener: "<|plan|>" -> "<|other|>"')
    undisturbed(home, [*words, "--resume"])
    same(home / "runs" / "again", run)


def test_an_endless_price_is_next_token_prediction(home):
    own = ["midtrain", "--model.opener", PLAN, *SMALL]
    ntp = undisturbed(home, [*own, "--midtrain.method", "ntp", "--run.name", "plan-ntp"])
    inf = undisturbed(home, [*own, "--midtrain.estep.switch-penalty", math.inf, "--run.name", "plan-inf"])
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (ntp, inf))
    assert all(torch.equal(one[name], two[name]) for name in one)
    learned = [[m for m in read(folder / "metrics.jsonl") if m["stage"] == "mstep"] for folder in (ntp, inf)]
    assert learned[0] == learned[1] != []


def test_naming_the_comment_changes_nothing(home):
    words = ["midtrain", *SMALL]
    same(
        undisturbed(home, [*words, "--model.opener", "#", "--run.name", "named"]),
        undisturbed(home, [*words, "--run.name", "unnamed"]),
    )


@pytest.mark.parametrize("opener", ["plan", "<a b>", ""])
def test_a_name_must_look_like_one(home, opener):
    refused(ra3(home, "midtrain", "--model.opener", opener, *SMALL), "model.opener", "<|NAME|>")
