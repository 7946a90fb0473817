"""`--model ORG/NAME`: the published hub client against a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_hub import COMMIT, serving
from small_runs import SMALL

from ra3.errors import UserError
from ra3.model.hub import find_model

OTHER = "6" * 40


def python(folder: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """``python WORDS`` with a cache of its own."""
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", **variables}
    place = {"cwd": folder, "env": environment, "timeout": 240}
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **place)


def midtrain(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``ra3 midtrain --model some-lab/tiny``."""
    own = ["-m", "ra3", "midtrain", "--model", "some-lab/tiny", "--run.name", "first", *SMALL]
    return python(folder, *own, *words, **variables)


def found(folder: Path, name: str, **variables: str) -> str:
    """What a process of its own takes `name` for."""
    done = python(folder, "-c", f"from ra3.model.hub import find_model; print(find_model({name!r})[1])", **variables)
    return (done.stdout or done.stderr).strip()


def model_of(run: Path) -> str:
    return json.loads((run / "environment.json").read_text())["model"]


def test_a_model_from_the_hub_is_pinned_to_its_commit(policy, tmp_path):
    repository = tmp_path / "hub" / "some-lab" / "tiny"
    policy.save(repository)
    for other in ("onnx/model.json", "consolidated.safetensors", "README.md", "model.bin"):
        (repository / other).parent.mkdir(exist_ok=True)
        (repository / other).write_text("not wanted")
    with serving(tmp_path / "hub") as hub:
        done = midtrain(tmp_path, HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
        assert model_of(tmp_path / "runs" / "first") == f"some-lab/tiny@{COMMIT}"
        fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
        assert "model.safetensors" in fetched
        assert not fetched & {"README.md", "consolidated.safetensors", "model.bin", "model.json"}

        hub.commit = OTHER  # the branch moves on; the run does not
        assert found(tmp_path, "some-lab/tiny", HF_ENDPOINT=hub.url) == f"some-lab/tiny@{OTHER}"
        done = midtrain(tmp_path, "--resume", HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
        assert model_of(tmp_path / "runs" / "first") == f"some-lab/tiny@{COMMIT}"

    for name, commit in ("some-lab/tiny", OTHER), (f"some-lab/tiny@{COMMIT}", COMMIT):  # nobody answers any more
        assert found(tmp_path, name, HF_HUB_OFFLINE="1") == f"some-lab/tiny@{commit}"


def test_weights_of_old_are_fetched_where_there_are_no_others(tmp_path):
    repository = tmp_path / "hub" / "some-lab" / "old"
    repository.mkdir(parents=True)
    (repository / "config.json").write_text("{}")
    (repository / "pytorch_model.bin").write_text("weights")
    with serving(tmp_path / "hub") as hub:
        assert found(tmp_path, "some-lab/old@v1", HF_ENDPOINT=hub.url) == f"some-lab/old@{COMMIT}"
        assert any(path.endswith("pytorch_model.bin") for path in hub.asked)


def test_what_the_hub_does_not_have_is_one_message(tmp_path):
    (tmp_path / "hub" / "some-lab" / "quantised").mkdir(parents=True)
    (tmp_path / "hub" / "some-lab" / "quantised" / "README.md").write_text("files to be fetched by name")
    with serving(tmp_path / "hub") as hub:
        done = midtrain(tmp_path, HF_ENDPOINT=hub.url)
        assert "download one of its GGUF files" in found(tmp_path, "some-lab/quantised", HF_ENDPOINT=hub.url)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "model.path = some-lab/tiny: this is no folder here, and cannot be had from the hub: " in done.stderr
    assert "HF_HUB_OFFLINE" in found(tmp_path, "some-lab/tiny", HF_HUB_OFFLINE="1")


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/model", "~/no-such-model", "a/b/c", "here/mine"])
def test_a_wrong_path_is_not_asked_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(UserError, match="there is no such model folder"):
        find_model(name)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert find_model("~/mine") == (tmp_path / "mine", str(tmp_path / "mine"))


def test_a_package_that_ships_a_model_is_found_by_its_name(tmp_path, monkeypatch):
    package = tmp_path / "ships_a_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('nothing is imported')")
    (package / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model("ships-a-model") == (package / "small.gguf", str(package / "small.gguf"))
    with pytest.raises(UserError, match="no such model folder"):
        find_model("ships-no-model")
