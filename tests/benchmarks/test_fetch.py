"""Benchmarks that are downloaded: the published hub client against a hub on this machine, and a release's file."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import benchmark_files as files
import pytest
from local_hub import serving

from ra3.benchmarks.registry import release_files
from ra3.errors import UserError

RIGHT = [
    {"task_id": "HumanEval/0", "completion": "    return 2 * x\n"},
    {"task_id": "HumanEval/1", "completion": "    return x ** 0.5\n"},
]


def evaluate(folder: Path, benchmark: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``ra3 eval --bench BENCHMARK --samples ...`` with a cache of its own."""
    samples = files.write(folder / "samples.jsonl", *RIGHT)
    command = [sys.executable, "-m", "ra3", "eval", "--bench", benchmark, "--samples", str(samples)]
    places = {"HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **places, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture
def hub_folder(tmp_path) -> Path:
    """A hub's data: HumanEval as it lies there, beside files that are not the test split."""
    from datasets import Dataset

    folder = tmp_path / "hub" / "openai" / "openai_humaneval"
    (folder / "openai_humaneval").mkdir(parents=True)
    Dataset.from_list([files.HUMANEVAL, files.HUMANEVAL_LOOP]).to_parquet(
        folder / "openai_humaneval" / "test-00000-of-00001.parquet"
    )
    (folder / "README.md").write_text("not wanted")
    return tmp_path / "hub"


def test_a_benchmark_from_the_hub_is_downloaded_once(tmp_path, hub_folder):
    with serving(hub_folder) as hub:
        done = evaluate(tmp_path, "humaneval", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert "100.0" in done.stdout and "2 problems" in done.stdout + done.stderr, done.stdout + done.stderr
    assert any(path.endswith("test-00000-of-00001.parquet") for path in hub.asked)
    assert not any(path.endswith("README.md") for path in hub.asked)
    (tmp_path / "runs").rename(tmp_path / "first")
    again = evaluate(tmp_path, "humaneval", HF_ENDPOINT=hub.url)  # nobody answers there any more
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
def test_what_the_hub_does_not_give_is_one_clear_error(tmp_path, hub_folder, proxy):
    """It has no such data set, or nobody can get to it."""
    with serving(hub_folder) as hub:
        done = evaluate(tmp_path, "mbpp", HF_ENDPOINT=hub.url, HTTP_PROXY=proxy, http_proxy=proxy, no_proxy="")
    assert done.returncode == 2
    assert "google-research-datasets/mbpp: cannot be downloaded from the hub: " in done.stderr
    assert "name a file on this machine" in done.stderr and "Traceback" not in done.stderr


def test_a_release_is_downloaded_once_and_known_by_its_sum(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = json.dumps(files.HUMANEVAL_PLUS).encode()
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "Plus.jsonl.gz").write_bytes(gzip.compress(content))
    with serving(tmp_path / "hub") as hub:
        release = f"{hub.url}/Plus.jsonl.gz", hashlib.md5(content).hexdigest()
        (path,) = release_files(*release)
        assert gzip.decompress(path.read_bytes()) == content
        with pytest.raises(UserError, match="this is another file: its MD5 is"):
            release_files(f"{hub.url}/Plus.jsonl.gz", "0" * 32)
        with pytest.raises(UserError, match="cannot be downloaded: HTTP Error 404"):
            release_files(f"{hub.url}/Other.jsonl.gz", "0" * 32)
    assert release_files(*release) == [path]  # nobody answers there any more
