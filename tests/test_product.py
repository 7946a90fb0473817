"""The product, through its command line: runs end to end, repeats, stops and goes on, and refuses with one message."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import make_policy, raise_think_logit
from injections import remount
from safetensors.torch import load_file

from ra3.data.latents import remove

TINY = [
    "--run.threads", "1", "--run.device", "cpu", "--corpus.documents", "8", "--corpus.heldout", "0.2",
    "--midtrain.estep.updates", "4", "--midtrain.estep.documents", "2", "--midtrain.estep.group-size", "2",
    "--midtrain.estep.max-latent-tokens", "3", "--midtrain.mstep.batch-documents", "4",
]  # fmt: skip
PROBLEM = (
    '{{"id": "{0}", "prompt": "def {0}(a):\\n", "entry_point": "{0}", "tests": [{{"args": [1], "expected": 1}}]}}\n'
)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "ra3", *map(str, words)]


def ra3(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """One command line in `folder`, which also holds the model folder `tiny`."""
    return subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def midtrain(name: str, *words: object, out: object = "runs") -> list[object]:
    return ["midtrain", "--model", "tiny", "--run.out", out, "--run.name", name, *TINY, *words]


def refused(result: subprocess.CompletedProcess[str], *parts: str) -> bool:
    """One clear message with every part in it, exit code 2, no stack trace."""
    message = result.stderr
    whole = message.startswith("ra3: ") and message.count("ra3: ") == 1 and "Traceback" not in message
    return result.returncode == 2 and whole and all(part in message for part in parts)


def same_product(a: Path, b: Path) -> bool:
    """The same metrics, byte for byte, and the same weights, bit for bit."""
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (a, b))
    weights = one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
    return weights and (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with the model `tiny`, which thinks at the head of a function, and the corpus `code`."""
    folder = tmp_path_factory.mktemp("home")
    policy = make_policy(folder / "tiny", tie_word_embeddings=False)
    before = policy.tokenizer("import os\n\n\ndef f(x):\n    #")["input_ids"][:-1]
    raise_think_logit(policy, before, by=30)
    policy.save(folder / "tiny")
    (folder / "code" / "sub").mkdir(parents=True)
    (folder / "code" / "a.py").write_bytes(b"import os\n\n\ndef f(x):\n    return x + 1\n")
    (folder / "code" / "sub" / "b.py").write_bytes(
        b'def g(s):\r\n\tif s:\r\n\t\treturn """x\r\n#y\r\n"""\r\n\treturn s'
    )
    (folder / "code" / "c.py").write_bytes(b"this does not compile(\n")
    (folder / "problems.jsonl").write_text(PROBLEM.format("one") + PROBLEM.format("two"))
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def whole(home) -> Path:
    """The folder of a run that nothing disturbed."""
    result = ra3(home, *midtrain("whole"))
    assert result.returncode == 0, result.stderr
    return home / "runs" / "whole"


def test_a_run_leaves_its_product(whole):
    steps = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps if s["stage"] == "estep"] == [0, 1, 2, 3]
    assert any(s["stage"] == "mstep" for s in steps)
    models = {row["model"] for row in json.loads((whole / "results.json").read_text())["rows"]}
    assert models == {"base", "ra3"}
    assert "<html" in (whole / "report.html").read_text()[:500].lower()
    records = [json.loads(line) for line in (whole / "annotated.jsonl").read_text().splitlines()]
    assert records and all(record["ids"] for record in records)


def test_a_folder_of_code_is_trained_on_and_measured(home):
    """Code from elsewhere has no true intentions: what needs them is left out of the measures, and nothing else is."""
    for number in range(8):
        (home / "mine").mkdir(exist_ok=True)
        (home / "mine" / f"{number}.py").write_text(f"def f{number}(x):\n    y = x + {number}\n    return y\n")
    ended = ra3(home, *midtrain("mine", "--corpus", "mine"))
    assert ended.returncode == 0, ended.stderr
    results = json.loads((home / "runs" / "mine" / "results.json").read_text())
    measured = {row["metric"] for row in results["rows"] if row["model"] == "ra3"}
    assert {"nll_per_token", "think_rate"} <= measured and "boundary_f1" not in measured


def test_the_same_seed_gives_the_same_bytes(home, whole):
    assert ra3(home, *midtrain("again")).returncode == 0
    assert same_product(whole, home / "runs" / "again")


def test_ctrl_c_and_resume_change_nothing(home, whole):
    metrics = home / "runs" / "stopped" / "metrics.jsonl"
    words = command(*midtrain("stopped"))
    with subprocess.Popen(words, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    assert error.startswith("ra3: stopped; go on with\n  ra3 midtrain ") and error.endswith(" --resume\n")
    assert not (home / "runs" / "stopped" / "model").exists()
    assert ra3(home, *midtrain("stopped", "--resume")).returncode == 0
    assert same_product(whole, home / "runs" / "stopped")


@pytest.mark.parametrize(
    "words, parts",
    [
        (["--model", "no-such-model"], ["there is no such model folder", "no-such-model"]),
        (["--model", "code"], ["cannot be loaded", "code"]),
        (["--corpus", "empty"], ["there is no document here", "empty"]),
        (["--corpus.documnts", "3"], ["did you mean --corpus.documents?"]),
        (["--midtrain.estep.gamma", "2"], ["midtrain.estep.gamma", "<= 1"]),
        (["--corpus.max-tokens", "4096"], ["corpus.max_tokens = 4096", "has 2048 positions"]),
    ],
)
def test_a_mistake_leaves_no_run_folder(home, words, parts):
    assert refused(ra3(home, *midtrain("mistake", *words, out="nowhere")), *parts)
    assert not (home / "nowhere").exists()


def test_a_full_disk_loses_nothing(home, whole, disk):
    remount(disk, "size=300k")
    words = midtrain("full", out=disk)
    assert refused(ra3(home, *words), "the disk is full", "kept:", "free some space", "--resume")
    remount(disk, "size=16m")
    result = ra3(home, *words, "--resume")
    assert result.returncode == 0, result.stderr
    assert same_product(whole, disk / "full")


def test_evaluation_on_a_file_of_problems(home):
    words = ["--eval.problems", "problems.jsonl", "--eval.samples", 4, "--eval.max-new-tokens", 4, "--eval.k", "[1]"]
    result = ra3(home, "eval", "--model", "tiny", "--run.name", "exam", *TINY[:4], *words)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((home / "runs" / "exam" / "results.json").read_text())["rows"]
    assert (row["metric"], row["problems"], row["samples"]) == ("pass@1", 2, 4)
    assert row["low"] <= row["mean"] <= row["high"]


def test_two_steps_of_rlvr(home):
    words = ["--rlvr.steps", 2, "--rlvr.batch-problems", 2, "--rlvr.samples", 2, "--rlvr.max-new-tokens", 8]
    result = ra3(home, "rlvr", "--model", "tiny", "--run.name", "rl", *TINY[:4], *words)
    assert result.returncode == 0, result.stderr
    steps = [json.loads(line) for line in (home / "runs" / "rl" / "metrics.jsonl").read_text().splitlines()]
    assert [(s["stage"], s["step"], s["infra"]) for s in steps] == [("rlvr", 0, 0), ("rlvr", 1, 0)]
    assert (home / "runs" / "rl" / "model" / "model.safetensors").exists()


def test_problems_longer_than_the_model_reads(home):
    """They are not trained on, and no score is given without them."""
    short, long = PROBLEM.format("short"), PROBLEM.format("long").replace("def", "# " + "la " * 2000 + "\\ndef")
    (home / "long.jsonl").write_text(short + long)
    words = ["--model", "tiny", *TINY[:4], "--run.name", "long"]
    result = ra3(home, "rlvr", *words, "--rlvr.problems", "long.jsonl", "--rlvr.steps", 1, "--rlvr.batch-problems", 1)
    assert result.returncode == 0, result.stderr
    (left_out,) = json.loads((home / "runs" / "long" / "environment.json").read_text())["left_out"].items()
    assert left_out[0] == "long" and "and 512 more are over 2048 positions" in left_out[1]
    exam = ra3(home, "eval", *words, "--eval.problems", "long.jsonl")
    assert refused(exam, "1 of its problems are longer than the model reads (long: ", "lower eval.max_new_tokens")


def test_an_annotated_folder_turns_back(home):
    """Windows of 16 tokens: files are annotated to their end, however long."""
    words = ["--corpus", "code", "--corpus.heldout", "0", "--corpus.max-tokens", "16", "--check"]
    result = ra3(home, "annotate", "--model", "tiny", "--out", "annotated", *TINY[:4], *words)
    assert result.returncode == 0, result.stderr
    assert "2 compile, 1 did not before either" in result.stdout
    manifest = [json.loads(line) for line in (home / "annotated" / "manifest.jsonl").read_text().splitlines()]
    assert len(manifest) == 3 and sum(len(record["latents"]) for record in manifest) > 0
    for record in manifest:
        text = (home / "annotated" / record["id"]).read_bytes().decode()
        assert remove(text, record["latents"]).encode() == (home / "code" / record["id"]).read_bytes()
