"""Faults, each made for real, through the command line: one clear message, nothing lost, and the run goes on after it.

The messages here are those of the table in docs/reliability.md; a test holds the two together.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from cli_runs import Started, ra3
from injections import (
    folder_vanishes,
    hang_in_second_step,
    little_memory,
    no_interpreter,
    servers_die_for_good,
    weights_change_before_the_second_update,
)
from processes import children
from safetensors.torch import load_file, save_file
from small_runs import midtrain, refused, rlvr, same, went_on

from ra3.run.stopping import EXIT_CODE

THINKING = ["--midtrain.estep.think-floor", "0.5,3"]
"""Every update of the E-step has something to learn from."""


def test_a_hang_ends_with_its_name_and_its_stacks(home, whole):
    ended = ra3(home, *midtrain("hung", "--run.stuck-after-s", 3), prepare=hang_in_second_step)
    assert ended.returncode == EXIT_CODE, ended.stderr
    assert "nothing moved for 3 s (run.stuck_after_s) in estep-0, step 2 of 3" in ended.stderr
    assert "--resume" in ended.stderr and "Traceback" not in ended.stderr
    stacks = (home / "runs/hung/logs/attempt_1.stacks").read_text()
    assert "in hanging" in stacks and "ra3/rl/loop.py" in stacks
    went_on(home, midtrain("hung"), whole)


def test_sampling_and_scoring_that_disagree_are_told_at_that_step(home):
    ended = ra3(home, *midtrain("disagree", *THINKING), prepare=weights_change_before_the_second_update)
    assert ended.returncode == 0, ended.stderr
    first, second, third = gaps(home / "runs/disagree")
    assert max(first, third) <= 1e-4 < second
    line, again = [line for line in ended.stdout.splitlines() if "logp_gap_max is" in line]  # and once more at the end
    assert again.strip()
    assert line.startswith(f"warning  estep: logp_gap_max is {second:.3g}. Healthy: below 1e-4 in float32")
    assert f"step 1: estep: logp_gap_max is {second:.3g}" in (home / "runs/disagree/report.html").read_text()


def test_bfloat16_has_a_gate_of_its_own(home):
    ended = ra3(home, *midtrain("narrow", *THINKING, "--run.dtype", "bfloat16"))
    assert ended.returncode == 0, ended.stderr
    assert 1e-4 < max(gaps(home / "runs/narrow")) <= 1e-2
    assert "logp_gap_max is" not in ended.stdout + (home / "runs/narrow/report.html").read_text()


def gaps(folder: Path) -> list[float]:
    """The largest difference between sampling and scoring of each update of the E-step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["logp_gap_max"] for line in lines if line["stage"] == "estep"]


def test_a_hang_before_the_first_step_ends_too(home):
    os.mkfifo(home / "pipe.jsonl")
    ended = ra3(home, "eval", "--samples", "pipe.jsonl", "--run.name", "piped", "--run.stuck-after-s", 10)
    assert ended.returncode == EXIT_CODE, ended.stderr
    assert "nothing moved for 10 s (run.stuck_after_s) in loading" in ended.stderr and "Traceback" not in ended.stderr
    stacks = Path(ended.stderr.split("stacks of all threads: ")[1].split("\n")[0])
    assert "read_samples" in stacks.read_text()
    stacks.unlink()


def test_out_of_memory(home, whole):
    told = ra3(home, *midtrain("starved"), prepare=little_memory)
    refused(told, "out of memory", "kept:", "--resume", "micro_batch_tokens")
    went_on(home, midtrain("starved"), whole)


def wild(home: Path, name: str, tensor: str, value: float) -> list[object]:
    """A model in which one tensor is too large at the token "%", and four documents, of which one holds that token."""
    from transformers import AutoTokenizer

    shutil.copytree(home / "tiny", home / f"model-{name}")
    (odd,) = AutoTokenizer.from_pretrained(home / "tiny")("%", add_special_tokens=False)["input_ids"]
    tensors = load_file(home / "tiny" / "model.safetensors")
    tensors[tensor][odd] = value
    save_file(tensors, home / f"model-{name}" / "model.safetensors", metadata={"format": "pt"})
    (home / f"code-{name}").mkdir()
    texts = {"a": "x = 1\n", "b": "y = 2\nx = x + 1\n", "odd": "x = 1\nx = 7 % 2\ny = 3\n", "c": "z\n"}
    for document, text in texts.items():
        (home / f"code-{name}" / f"{document}.py").write_text(text)
    return ["--model", f"model-{name}", "--corpus", f"code-{name}", "--midtrain.estep.documents", 4]


def test_a_gradient_that_is_not_finite_stops_and_names_the_document(home):
    words = wild(home, "gradient", "model.embed_tokens.weight", 3e38)
    told = ra3(home, *midtrain("gradient", *words, "--midtrain.method", "ntp"))
    refused(told, "training stopped at mstep step 0", "to blame: odd.py\n", "bad-rows.jsonl", "--resume")
    rows = [json.loads(line) for line in (home / "runs/gradient/bad-rows.jsonl").read_text().splitlines()]
    assert [row["document"] for row in rows] == ["odd.py"] and "7 % 2" in rows[0]["text"]


def test_advantages_that_are_not_finite_stop_the_e_step(home):
    words = wild(home, "logits", "lm_head.weight", 1e37)
    told = ra3(home, *midtrain("wild", *words, "--midtrain.estep.think_floor", "1,1"))
    refused(told, "training stopped at estep step 0", "to blame: ", ".py", "bad-rows.jsonl")


def test_a_sandbox_that_does_not_start(home):
    refused(ra3(home, *rlvr("no-sandbox"), prepare=no_interpreter), "the sandbox is dead", "/bin/false", "--resume")


def test_a_sandbox_that_dies_for_good(home, whole_rl):
    told = ra3(home, *rlvr("dead-sandbox"), prepare=servers_die_for_good)
    refused(told, "the sandbox is dead", "kept: checkpoint rlvr.step-000001", "--resume")
    went_on(home, rlvr("dead-sandbox"), whole_rl)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_a_sandbox_server_that_dies_or_hangs_is_replaced(home, whole_rl, signum):
    if signum == signal.SIGSTOP and os.environ.get("RA3_FULL") != "1":
        pytest.skip("waits for deadlines; RA3_FULL=1")
    words = rlvr(f"sandbox-{signum}")
    run, metrics = Started(home, words), home / "runs" / f"sandbox-{signum}" / "metrics.jsonl"
    run.wait_until(lambda: metrics.exists() and metrics.stat().st_size)
    for pid in children(run.process.pid):
        os.kill(pid, signum)
    ended = run.wait()
    assert ended.returncode == 0, ended.stderr
    same(metrics.parent, whole_rl)


def test_two_runs_in_one_folder(home):
    first = Started(home, midtrain("shared", "--run.stuck-after-s", 60), hang_in_second_step)
    first.wait_until(lambda: (home / "runs/shared/metrics.jsonl").exists())
    try:
        second = ra3(home, *midtrain("shared", "--run.stuck-after-s", 60, "--resume"))
        refused(second, f"another run is writing this folder: process {first.process.pid} on ", "stop it")
    finally:
        first.signal(signal.SIGKILL)
        assert first.wait().returncode == -signal.SIGKILL


def test_broken_model_folders(home):
    for name, change in {"missing": lambda t: t.pop("lm_head.weight"), "narrow": _narrow}.items():
        shutil.copytree(home / "tiny", home / name)
        tensors = load_file(home / name / "model.safetensors")
        change(tensors)
        save_file(tensors, home / name / "model.safetensors", metadata={"format": "pt"})
        told = ra3(home, *midtrain("broken", "--model", name))
        refused(told, "tensors missing from the weights, or of another shape there: lm_head.weight", name)
    shutil.copytree(home / "tiny", home / "mute")
    tokenizer = json.loads((home / "mute/tokenizer.json").read_text())
    (home / "mute/tokenizer.json").write_text(json.dumps({**tokenizer, "decoder": None}))
    told = ra3(home, *midtrain("broken", "--model", "mute"))
    refused(told, "this tokenizer has no token of its own for a line break", "byte-level BPE")
    assert not (home / "runs/broken").exists()


def _narrow(tensors: dict) -> None:
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:, :-1].contiguous()


def test_bad_rows_are_set_aside_and_counted(home):
    good = [json.dumps({"text": f"x = {n}\ny = x\n"}).encode() for n in range(8)]
    bad = [b'{"text": 3}', b"{", b'{"text": "\xe9"}', b""]
    (home / "rows.jsonl").write_bytes(b"\r\n".join([*good[:4], *bad, *good[4:]]) + b"\n")
    words = midtrain("rows", "--corpus", "rows.jsonl", "--midtrain.method", "ntp")
    refused(ra3(home, *words), "3 of 11 documents cannot be used (27.3%)", "rows.jsonl:5:", "corpus.max_bad")
    ended = ra3(home, *words, "--corpus.max-bad", "0.3")
    assert ended.returncode == 0, ended.stderr
    assert "corpus: 11 rows -> 8 documents (3 faulty), 96 characters\nfirst document: rows.jsonl:1\n  | x = 0\n" in (
        ended.stdout
    )
    rows = [json.loads(line) for line in (home / "runs/rows/quarantine.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == ["rows.jsonl:5", "rows.jsonl:6", "rows.jsonl:7"]
    assert "corpus.quarantined</th><td>3<" in (home / "runs/rows/report.html").read_text()


def test_a_damaged_shard_of_the_corpus(home):
    rows = b"".join(json.dumps({"text": f"x = {n}\ny = x\n"}).encode() + b"\n" for n in range(40))
    (home / "shards").mkdir()
    (home / "shards/a.jsonl").write_bytes(rows)
    (home / "shards/b.jsonl.gz").write_bytes(gzip.compress(rows)[:-40])
    words = ["--corpus", "shards", "--corpus.pattern", "*", "--corpus.documents", 0, "--midtrain.method", "ntp"]
    ended = ra3(home, *midtrain("shards", *words))
    assert ended.returncode == 0, ended.stderr
    assert "b.jsonl.gz" in (home / "runs/shards/quarantine.jsonl").read_text()
    (home / "shards/a.jsonl").unlink()
    refused(ra3(home, *midtrain("shards-2", *words, "--corpus.max-bad", 0)), "cannot be used", "b.jsonl.gz")


def test_a_run_folder_that_vanishes(home):
    refused(ra3(home, *midtrain("vanished"), prepare=folder_vanishes), "a file or folder that was there is gone")


def test_every_message_is_in_the_table():
    page = (Path(__file__).parents[2] / "docs/reliability.md").read_text(encoding="utf-8")
    for part in (
        "the disk is full", "the file system is read-only", "permission denied", "out of memory",
        "the sandbox is dead", "nothing moved for", "training stopped at", "to blame",
        "another run is writing this folder", "this tokenizer has no token of its own",
        "tensors missing from the weights, or of another shape there",
        "is missing or damaged; the run goes on from", "another config", "changed since this run began",
        "does not fit these settings", "that was there is gone", "larger than is allowed here", "loading model",
        "this run folder has format 1, this version reads format", "this file system has no locks",
    ):  # fmt: skip
        assert part in page, part
