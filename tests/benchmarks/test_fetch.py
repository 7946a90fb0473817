"""Benchmarks that are downloaded: the published hub client against a hub on this machine, and a release's file."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import benchmark_files as files
import pytest
from local_hub import serving

from ra3.benchmarks.evalplus import cache_folder
from ra3.benchmarks.registry import release_files
from ra3.errors import UserError

WHOLE = gzip.compress(b'{"task_id": "HumanEval/0"}\n' * 500)
BROKEN = {
    "short.jsonl.gz": WHOLE[:-9], "login.jsonl.gz": b"<html>login</html>",
    "damaged.jsonl.gz": WHOLE[:20] + bytes(40) + WHOLE[60:],
}  # fmt: skip
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
        for name, data in BROKEN.items():
            (tmp_path / "hub" / name).write_bytes(data)
            with pytest.raises(UserError, match="cannot be downloaded: "):
                release_files(f"{hub.url}/{name}", "0" * 32)
    assert release_files(*release) == [path]  # nobody answers there any more


@pytest.mark.parametrize(
    "proxy",
    [
        *("not-a-url:xyz", "http://127.0.0.1:99999999", "http://[::1", "http://127.0.0.1:9"),
        *("http://", "socks9://127.0.0.1:9", "http://a\tb:80"),
    ],
)  # fmt: skip
def test_a_proxy_that_is_none_is_one_clear_error(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UserError, match="cannot be downloaded: "):
        release_files("http://example.invalid/Plus.jsonl.gz", "0" * 32)


CUT = {
    "less than was promised": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE[:60]),
    "a chunk that ends early": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "no size of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("answer", CUT)
def test_a_download_that_breaks_off_is_one_clear_error(tmp_path, monkeypatch, answer):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(reply_once, server, CUT[answer])
        with pytest.raises(UserError, match=r"cannot be downloaded: \S"):
            release_files(f"http://127.0.0.1:{server.getsockname()[1]}/cut.jsonl.gz", "0" * 32)
        answered.result()


def reply_once(server: socket.socket, answer: bytes) -> None:
    """Answers one request and hangs up."""
    with server.accept()[0] as line:
        line.recv(1 << 16)
        line.sendall(answer)


def test_a_user_without_a_home_has_a_cache_of_the_process(monkeypatch):
    """As in a container that runs under any user id: neither HOME nor a name for the id."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 123456789)
    assert cache_folder().is_dir() and cache_folder() == cache_folder()
    for home in ("/", "/nowhere", "/home/me", "/a b", "/dev/null", "/home/me/"):
        monkeypatch.setenv("HOME", home)
        assert cache_folder() == Path(home, ".cache", "ra3")
