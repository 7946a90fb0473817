"""`ra3 runs`: what it says about run folders that are whole, stopped, damaged or going."""

from __future__ import annotations

import json
import shutil

import pytest
from cli_runs import Started, ra3
from injections import hang_in_second_step
from small_runs import copy, midtrain, refused


def damage(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-3] ^= 0xFF
    (folder / name).write_bytes(data)


def test_list_and_show(home, whole):
    ended = ra3(home, "runs", "list")
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("whole ")]
    assert " midtrain " in line and " finished " in line and line.endswith("estep 3, mstep 2")
    shown = ra3(home, "runs", "show", "runs/whole").stdout
    assert "state    finished" in shown and "midtrain.estep.updates = 3" in shown and "checkpoints: {" in shown
    assert "nll_per_token" not in shown and "run.device = cpu" in shown


def test_a_run_that_is_going_is_said_to_be(home):
    run = Started(home, midtrain("going", "--run.stuck-after-s", 60), hang_in_second_step)
    try:
        metrics = home / "runs/going/metrics.jsonl"
        run.wait_until(lambda: metrics.exists() and metrics.stat().st_size)
        assert f"running: process {run.process.pid} on " in ra3(home, "runs", "list").stdout
    finally:
        run.process.kill()
        run.process.join()
    assert " stopped " in next(row for row in ra3(home, "runs", "list").stdout.splitlines() if row.startswith("going "))


@pytest.mark.parametrize(
    "name, told",
    [
        ("results.json", "results.json is not as the run left it"),
        ("model/model.safetensors", "model/model.safetensors is not as the run left it"),
        ("checkpoints/mstep-0.pt", "checkpoints/mstep-0.pt is missing or damaged"),
        ("metrics.jsonl", "metrics.jsonl has 1 lines that are no JSON objects"),
    ],
)
def test_verify_finds_damage(home, whole, name, told):
    folder = copy(whole, f"verify-{name.replace('/', '-')}")
    assert ra3(home, "runs", "verify", f"runs/{folder.name}").stdout.endswith("whole (finished)\n")
    damage(folder, name)
    refused(ra3(home, "runs", "verify", f"runs/{folder.name}"), told, "--resume")
    shutil.rmtree(folder)


def test_verify_finds_gaps_and_what_is_missing(home, whole):
    folder = copy(whole, "gaps")
    lines = (folder / "metrics.jsonl").read_text().splitlines(True)
    (folder / "metrics.jsonl").write_text("".join(lines[:1] + lines[2:]))
    (folder / "annotated.jsonl").unlink()
    found = ra3(home, "runs", "verify", "runs/gaps")
    refused(found, "the steps of estep, round 0, are not 0 to 1", "annotated.jsonl is missing")
    refused(ra3(home, "runs", "verify", "tiny"), "there is no run in this folder")
    refused(ra3(home, "runs", "show", "nowhere"), "no run folder")


def test_compare(home, whole):
    twin = copy(whole, "twin")
    said = ra3(home, "runs", "compare", "runs/whole", "runs/twin").stdout.splitlines()
    assert "settings: the same" in said and "metrics.jsonl: the same" in said
    assert "model/model.safetensors: the same" in said
    config = json.loads((twin / "config.json").read_text())
    config["midtrain"]["em_rounds"] = 3
    (twin / "config.json").write_text(json.dumps(config))
    lines = (twin / "metrics.jsonl").read_text().splitlines()
    line = json.loads(lines[1])
    (twin / "metrics.jsonl").write_text("\n".join([lines[0], json.dumps({**line, "elbo": 7}), *lines[2:]]) + "\n")
    damage(twin, "model/model.safetensors")
    said = ra3(home, "runs", "compare", "runs/whole", "runs/twin").stdout
    assert "midtrain.em_rounds: 1 -> 3" in said and "model/model.safetensors: different" in said
    assert f"first different in line 2 (estep 0 1): elbo {line['elbo']} and 7" in said
