"""Programs written by vLLM: our own log-probabilities after every update, the same programs after a kill, RLVR by it.

    RA3_VLLM_PYTHON=VENV/bin/python python -m pytest tests/rollout/test_vllm.py
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from cli_runs import Started, ra3
from conftest import make_policy
from safetensors.torch import load_file
from small_runs import refused, rlvr

from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rl.loop import MOST_IMPORTANCE, sampler_tails, sampler_weight
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.vllm import PYTHON, VllmServer, write_untied
from ra3.rows import FULL, RowBuilder, build
from ra3.run.files import fingerprint_weights, read_lines

needs_vllm = pytest.mark.skipif(
    not shutil.which(os.environ.get(PYTHON, "")), reason=f"needs vLLM in an environment of its own ({PYTHON})"
)
pytestmark = pytest.mark.timeout(900)
SIZES = {"hidden_size": 64, "num_hidden_layers": 2}
"""vLLM's kernels for CPUs want heads of 32 numbers."""
AHEAD = ["--rollouts", "vllm-ahead"]
LIKELIHOOD = ["--rlvr.problems", "word-problems", "--rlvr.reward", "likelihood"]
SAID = list[str]()
"""What was said of the server that a test has."""
PROMPTS = [[5, 6, 7, 8], [9, 8, 7], list(range(20, 60)), [30]]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def writing(request, tmp_path_factory) -> Iterator[Policy]:
    """A policy for which a server writes."""
    folder = tmp_path_factory.mktemp("vllm")
    policy = make_policy(folder / "model", tie_word_embeddings=request.param, **SIZES)
    with VllmServer(2048, folder / "vllm.log", SAID.append) as server:
        yield replace(policy, writer=server)


@needs_vllm
def test_scores_agree_after_each_of_twenty_updates(writing):
    noise = torch.Generator().manual_seed(0)
    for update in range(20):
        rows = generate(writing, PROMPTS, 2, SamplingParams(12, 0.8), [8 * update + r for r in range(8)])
        chosen = rows.action_mask
        assert chosen.sum() > 20
        assert float(rows.importance[chosen].log().abs().max()) < 1e-4, update
        with torch.no_grad():
            for parameter in writing.model.parameters():
                parameter += 0.1 * parameter.std().nan_to_num(0.01) * torch.randn(parameter.shape, generator=noise)


@needs_vllm
def test_rows_end_as_in_our_own_sampler(writing):
    """At a stop string, at the end of text, or after so many tokens, of which some stand there before."""
    begun = [[11, 12], [], [13], []]
    rows = generate(writing, PROMPTS, 4, SamplingParams(24), list(range(16)), stops=[("e",)] * 4, begun=begun)
    for r in range(len(rows)):
        *before, last = rows.ids[r][rows.action_mask[r]].tolist()
        ended = last in writing.end_ids or "e" in writing.token_text(last)
        assert bool(rows.finished[r]) == ended
        assert "e" not in "".join(map(writing.token_text, before))
        assert ended or len(before) + 1 == 24 - len(begun[r // 4])
    greedy = PROMPTS, 1, SamplingParams(9, 0.0), [0] * 4
    assert (generate(writing, *greedy).ids == generate(replace(writing, writer=None), *greedy).ids).all()


@needs_vllm
def test_other_weights_than_ours_are_refused(writing):
    weight, asked = writing.model.get_input_embeddings().weight, (PROMPTS, 2, SamplingParams(12), list(range(8)))
    generate(writing, *asked)
    with torch.no_grad():
        weight *= 2
    writing.writer._sent = fingerprint_weights(writing.model)  # as if it had been told
    with pytest.raises(UserError, match="it has another model"):
        generate(writing, *asked)
    with torch.no_grad():
        weight /= 2


@needs_vllm
def test_a_server_that_dies_is_started_again_and_asked_for_the_rest(writing):
    answered, asked = [], (PROMPTS * 8, 2, SamplingParams(200), list(range(64)))

    def kill_once(ended: dict[int, list[int]]) -> None:
        if not answered:
            os.kill(writing.writer._process.pid, signal.SIGKILL)
        answered.extend(ended)

    whole = generate(writing, *asked)
    SAID.clear()
    rows = generate(writing, *asked, on_finished=kill_once)
    assert len(SAID) == 1 and "it is started again" in SAID[0]
    assert sorted(answered) == list(range(64))
    assert (rows.ids == whole.ids).all()


@needs_vllm
def test_what_is_begun_is_written_by_the_weights_of_then_and_scored_by_those_of_now(writing):
    """The server is killed while it works ahead, too."""
    seeds, ends, told = list(range(8)), [()] * 4, dict[int, list[int]]()
    by_old = generate(writing, PROMPTS, 2, SamplingParams(40), seeds)
    server = writing.writer
    server.begin(writing, PROMPTS, 2, SamplingParams(40), seeds, ends)
    os.kill(server._process.pid, signal.SIGKILL)
    head = writing.model.get_output_embeddings().weight
    with torch.no_grad():
        head *= 1.5
    behind = generate(writing, PROMPTS, 2, SamplingParams(40), seeds, on_finished=told.update)
    assert server.updates_behind == 1 and (behind.ids == by_old.ids).all()
    assert sorted(told) == seeds and all(told[r] == behind.ids[r][behind.action_mask[r]].tolist() for r in told)
    chosen = behind.action_mask & behind.valid
    now = score(writing, behind, chosen, 2048).logp_action
    assert torch.allclose(behind.logp_old[chosen], now[chosen], atol=1e-5)
    ratio = (behind.logp_old - by_old.logp_old)[chosen].exp()
    assert torch.allclose(behind.importance[chosen], ratio, rtol=1e-3) and float(ratio.log().abs().max()) > 0.01
    server.begin(writing, PROMPTS, 2, SamplingParams(40), seeds, ends)
    other = generate(writing, PROMPTS, 2, SamplingParams(40), [seed + 100 for seed in seeds])
    assert server.updates_behind == 0 and float(other.importance[other.action_mask].log().abs().max()) < 1e-4
    with torch.no_grad():
        head /= 1.5


@needs_vllm
def test_rlvr_ahead_learns_from_programs_one_update_old_also_after_a_stop(tmp_path):
    make_policy(tmp_path / "tiny", **SIZES).save(tmp_path / "tiny")
    metrics = tmp_path / "runs" / "ahead" / "metrics.jsonl"
    run = Started(tmp_path, rlvr("ahead", *AHEAD, "--rlvr.steps", 5))
    run.wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, 500)
    run.signal(signal.SIGTERM)
    assert run.wait(500).returncode == 143
    before = metrics.read_text().count("\n")
    ended = Started(tmp_path, rlvr("ahead", *AHEAD, "--rlvr.steps", 5, "--resume")).wait(500)
    assert ended.returncode == 0, ended.stderr
    steps = list(read_lines(metrics))
    assert [step["step"] for step in steps] == list(range(5))
    assert [step["updates_behind"] for step in steps] == [float(step not in (0, before)) for step in range(5)]


@needs_vllm
def test_rlvr_and_evaluation_from_the_command_line(tmp_path):
    make_policy(tmp_path / "tiny", **SIZES).save(tmp_path / "tiny")
    run = Started(tmp_path, rlvr("by-vllm", "--rollouts", "vllm"))
    ended = run.wait(500)
    assert ended.returncode == 0, ended.stderr
    steps = list(read_lines(tmp_path / "runs" / "by-vllm" / "metrics.jsonl"))
    assert len(steps) == 3
    assert all(0 < step["sampler_gap_max"] < 1e-4 and step["importance_cut"] == 0 for step in steps)
    few = ["--eval.per-band", 1, "--eval.samples", 2, "--eval.k", 1, "--eval.max-new-tokens", 8, "--run.threads", 1]
    asked = ["eval", "--model", "tiny", "--name", "eval", "--rollouts", "vllm", *few]
    assert Started(tmp_path, asked).wait(500).returncode == 0
    found = json.loads((tmp_path / "runs" / "eval" / "results.json").read_text())
    assert found["problems"]


@pytest.mark.parametrize("tied", [True, False])
def test_what_vllm_reads_has_a_head_of_its_own(tmp_path, tied):
    policy = make_policy(tmp_path / "model", tie_word_embeddings=tied)
    write_untied(policy, tmp_path / "untied")
    config = json.loads((tmp_path / "untied" / "config.json").read_text())
    weights = {k: v for file in (tmp_path / "untied").glob("*.safetensors") for k, v in load_file(file).items()}
    assert not config["tie_word_embeddings"]
    assert weights.keys() == policy.model.state_dict().keys()
    assert all((weights[name] == value).all() for name, value in policy.model.state_dict().items())


def test_what_another_engine_drew_too_rarely_counts_more_up_to_a_bound():
    row = RowBuilder.start(0, [1])
    for importance in (0.5, 1.5, 8.0):
        row.append(2, 0, FULL, -1.0, -1.0, importance)
    rows = build([row])
    assert sampler_weight(rows).tolist() == [[1.0, 0.5, 1.5, MOST_IMPORTANCE]]
    assert sampler_tails(rows) == pytest.approx({"sampler_gap_max": math.log(8), "importance_cut": 1 / 3})
    own = RowBuilder.start(0, [1])
    own.append(2, 0, FULL, -1.0, -1.0)
    assert sampler_tails(build([own])) == {}


@pytest.mark.parametrize(
    ("python", "words", "expected"),
    [
        (sys.executable, [*AHEAD, "--rlvr.method", "mopps"], "nothing can be begun ahead"),
        (sys.executable, [*AHEAD, *LIKELIHOOD], "rlvr.reward = likelihood: what"),
        (sys.executable, [*AHEAD, "--rlvr.problems", "look-ups"], "tools: what"),
        (sys.executable, [*AHEAD, "--rlvr.refills", 1], "vllm-ahead draws before"),
        ("", [], f"{PYTHON} is not set"),
        ("/no/such/python", [], f"{PYTHON} names no Python: /no/such/python"),
        ("", ["--rlvr.method", "nlpo"], "draws tokens by two models at once"),
        ("/bin/false", [], "vLLM did not start (exit code 1)"),
    ],
)
def test_what_vllm_cannot_do_is_told(tmp_path, monkeypatch, python, words, expected):
    make_policy(tmp_path / "tiny", **SIZES).save(tmp_path / "tiny")
    refused(ra3(tmp_path, *rlvr("none", "--rollouts", "vllm", *words), prepare=Variable(python)), expected)


class Variable:
    """Sets the variable in the process of a command line."""

    def __init__(self, python: str):
        self.python = python

    def __call__(self) -> None:
        os.environ[PYTHON] = self.python
