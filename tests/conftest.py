"""Fixtures: small real models with the embedded world's tokenizer, and documents of the embedded world."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from small_runs import midtrain, rlvr, undisturbed
from transformers import AutoConfig

from ra3.data.latents import encode_all
from ra3.model.lanes import Packed, Plan
from ra3.model.policy import Policy
from ra3.rows import Rows
from ra3.sandbox import Sandbox
from ra3.worlds.functions import world as functions

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so do its children
settings.register_profile("any machine", deadline=None)  # a loaded machine is slow, not wrong
settings.load_profile("any machine")


def make_model_folder(folder: Path, architecture: str = "llama", **changes) -> Path:
    """A model folder with config and tokenizer, without weights."""
    tokenizer = functions.tokenizer()
    tokenizer.save_pretrained(folder)
    sizes = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 2048,
        "vocab_size": len(tokenizer),
    }  # fmt: skip
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(architecture, **{**sizes, **ends, **changes})
    config.save_pretrained(folder)
    return folder


def make_policy(folder: Path, architecture: str = "llama", seed: int = 0, **changes) -> Policy:
    """A randomly initialised policy."""
    make_model_folder(folder, architecture, **changes)
    return Policy.load(folder, "random", torch.float32, torch.device("cpu"), seed)


def raise_think_logit(policy: Policy, prefix_ids: list[int], by: float) -> None:
    """Makes an untied policy open comments more readily, above all after `prefix_ids`."""
    raise_logits(policy, policy.syntax.think_ids, prefix_ids, by)


def raise_logits(policy: Policy, favoured: Sequence[int], prefix_ids: list[int], by: float) -> None:
    """Makes an untied policy write these tokens more readily, above all after `prefix_ids`."""
    ids = torch.tensor([prefix_ids])
    hidden = policy.hidden(ids, torch.arange(len(prefix_ids))[None])[0, -1].detach()
    policy.model.lm_head.weight.data[list(favoured)] += by * hidden / hidden.square().sum()


def passes(rows: Rows, max_tokens: int) -> list[Packed]:
    """What is read together where there is one lane."""
    plan = Plan.of(rows, max_tokens)
    found = [plan.packed(0, number) for number in range(plan.passes)]
    return [packed for packed in found if packed]


@pytest.fixture(scope="session")
def policy(tmp_path_factory) -> Policy:
    """A random two-layer Llama; tests that train take a snapshot."""
    return make_policy(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def documents(policy):
    """Eight encoded documents of the embedded world."""
    encoded, bad = encode_all(policy.syntax, functions.documents("expert", 0, 8))
    assert not bad
    return encoded


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The world of tests/em/latent_world.py, whose latents can all be written out."""
    from latent_world import make_world

    return make_world(tmp_path_factory.mktemp("latents"))


@pytest.fixture(scope="session")
def rollouts(world):
    """3000 rollouts of that world by the engine's sampler, and which latent sequence each of them is."""
    from latent_world import sample

    return sample(world, 3000)


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A folder with the model `tiny`, which thinks at times at the head of a function; command lines are run in it."""
    folder = tmp_path_factory.mktemp("home")
    policy = make_policy(folder / "tiny", tie_word_embeddings=False)
    raise_think_logit(policy, policy.tokenizer("def ba(x):\n    #")["input_ids"][:-1], by=6)
    policy.save(folder / "tiny")
    return folder


@pytest.fixture(scope="session")
def whole(home) -> Path:
    """The folder of an undisturbed small run of mid-training."""
    return undisturbed(home, midtrain("whole"))


@pytest.fixture(scope="session")
def whole_rl(home) -> Path:
    """The folder of an undisturbed small run of RLVR."""
    return undisturbed(home, rlvr("whole-rl"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> None:
    """A cache of benchmark files that nothing has filled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def one_server() -> Iterator[Sandbox]:
    """A sandbox with its usual limits."""
    with Sandbox(1) as running:
        yield running


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MiB, which `cli_runs.remount` makes smaller or read-only; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def one_core():
    """One core for this process: with all of them, threads would wait for each other on a loaded machine."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)
