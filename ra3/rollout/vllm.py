"""Free generation by vLLM, in an environment and a process of its own: token ids go in and come out.

Nothing of it is imported: `RA3_VLLM_PYTHON` names the Python of an environment that has it, and its server is spoken to
over HTTP, on a socket in a folder that only this user can open. Weights that have changed are written as a folder of
Hugging Face, read again there, and what it remembers of prompts is dropped.

What vLLM says of a token is not what is learned from. Rows are scored by our own pass, and `importance` is q / b, b
being what vLLM drew them by. That shows whether it has these very weights: a gap beyond rounding is refused.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file

from ra3 import ranks
from ra3.errors import UserError
from ra3.model.lanes import whole
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rollout.generate import SamplingParams, StopCheck, prefixes
from ra3.rows import FULL, RowBuilder, Rows, build
from ra3.run.files import fingerprint_weights
from ra3.run.ledger import Work

PYTHON, OPTIONS = "RA3_VLLM_PYTHON", "RA3_VLLM_OPTIONS"
"""Variables: the Python of vLLM's environment, and more options of its server."""
AT_ONCE, MOST_DEATHS = 256, 3
"""Prompts that it is asked for at once, and how often it may die over them."""
CHECKED_TOKENS = 32
"""That are written and scored before others are begun, which are only scored by later weights."""
LARGEST_GAP = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Mean distance between its log-probabilities and ours, nats, from which on it must have other weights."""
SERVE = """
import ctypes, runpy, signal
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # it ends with whoever has started it
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
"""
ITS_OWN = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1", "PYTHONPATH": ""}
"""Its variables: it may be told to read weights again, tells nobody, and has no package of ours."""


class ServerLost(Exception):
    """The server has ended, or cannot go on."""


class VllmServer:
    """A server of vLLM that writes for a policy. Use as a context manager: in the end it is gone."""

    def __init__(self, micro_batch_tokens: int, log: Path, say: Callable[[str], object], ahead: bool = False):
        self.ahead = ahead
        """Whether RLVR is to have the programs of its next step begun while it learns from those of one."""
        self._micro_batch_tokens, self._log, self._say = micro_batch_tokens, log, say
        self._process: subprocess.Popen | None = None
        self._sent, self._python = "", os.environ.get(PYTHON, "")
        self._behind, self._closed = ThreadPoolExecutor(1), False
        self._begun: tuple[list[dict[str, Any]], Future[list[RowBuilder]] | None] = [], None
        self.updates_behind = 0
        """How many updates older than the policy the weights are that drew what was written last."""
        if not shutil.which(self._python):
            what = f"{PYTHON} names no Python: {self._python}" if self._python else f"{PYTHON} is not set"
            fix = f"install vLLM in an environment of its own and set {PYTHON} to its bin/python (docs/scale.md)"
            raise UserError(what, "run.rollouts", fix=fix)

    def __enter__(self) -> VllmServer:
        self._opened = TemporaryDirectory(prefix="ra3-vllm-")
        self._model, self._socket = Path(self._opened.name, "model"), str(Path(self._opened.name, "socket"))
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        self._end()
        self._behind.shutdown(cancel_futures=True)
        self._opened.cleanup()

    def begin(
        self, policy: Policy, prompts: Sequence[Sequence[int]], samples: int, params: SamplingParams,
        seeds: Sequence[int], stops: Sequence[tuple[str, ...]],
    ) -> None:  # fmt: skip
        """Has completions begun by the weights as they are. `write`, asked for the same, waits for these, whatever the
        weights are then; asked for others, it has those written as if none had been begun."""
        asked = requests(policy, prompts, samples, params, seeds, stops, [()] * len(prompts))
        self._send(policy)
        few = [asked[0] | {"n": 1, "max_tokens": CHECKED_TOKENS}]
        self._scored(policy, build(ranks.from_first(lambda: self._written(policy, few))), params)
        self._begun = asked, None if ranks.rank() else self._behind.submit(self._written, policy, asked)

    def write(
        self, policy: Policy, prompts: Sequence[Sequence[int]], samples: int, params: SamplingParams,
        seeds: Sequence[int], stops: Sequence[tuple[str, ...]], begun: Sequence[Sequence[int]],
        on_finished: Callable[[dict[int, list[int]]], None],
    ) -> Rows:  # fmt: skip
        """Completions as `generate` returns them; the seeds of a prompt follow from that of its first row. The first
        rank has them written, and tells the others."""
        asked = requests(policy, prompts, samples, params, seeds, stops, begun)
        (ahead, work), self._begun = self._begun, ([], None)
        self.updates_behind = int(ahead == asked)
        if self.updates_behind:
            rows = ranks.from_first(lambda: work.result() if work else [])
            if work:
                on_finished({r: row.ids[len(asked[r // samples]["prompt"]) :] for r, row in enumerate(rows)})
        else:
            wait([work] if work else [])
            self._send(policy)
            rows = ranks.from_first(lambda: self._written(policy, asked, on_finished))
        return self._scored(policy, build(rows), params, self.updates_behind)

    def _written(
        self, policy: Policy, asked: Sequence[Mapping[str, Any]],
        on_finished: Callable[[dict[int, list[int]]], None] = lambda ended: None,
    ) -> list[RowBuilder]:  # fmt: skip
        """What the server answers to these requests, row by row."""
        samples, rows, work = asked[0]["n"], dict[int, RowBuilder](), Work(sum(a["n"] * a["max_tokens"] for a in asked))
        ends = StopCheck(policy, [own["stop"] for own in asked], samples)
        for p, choices in self._answers(policy, asked):
            before = asked[p]["prompt"]
            for r, choice in enumerate(choices, p * samples):
                rows[r], ended = RowBuilder.start(p, before), False
                for token, logp in zip(choice["token_ids"], choice["logprobs"]["token_logprobs"], strict=True):
                    rows[r].append(token, 0, FULL, 0.0, logp)
                    if ended := ends.ended(r, token):
                        break
                rows[r].finished = ended or choice["finish_reason"] == "stop"
            on_finished({r: rows[r].ids[len(before) :] for r in range(p * samples, (p + 1) * samples)})
            work.advance(samples * asked[p]["max_tokens"])
        return [rows[r] for r in sorted(rows)]

    def _scored(self, policy: Policy, rows: Rows, params: SamplingParams, updates_behind: int = 0) -> Rows:
        """The rows with our own scores. UserError where these are further from vLLM's than rounding takes them, though
        it drew them by these weights."""
        chosen, most = rows.action_mask & rows.valid, LARGEST_GAP[policy.dtype]
        found = score(policy, rows, chosen, self._micro_batch_tokens, params.temperature or 1.0)
        apart = torch.where(chosen, found.logp_action - rows.logp_old, 0.0)
        if not updates_behind and (gap := float(apart.abs().sum() / chosen.sum())) > most:
            what = f"vLLM's log-probabilities are {gap:.3g} nats from ours on average: it has another model"
            fix = "its version cannot read these weights again: take another, or run.rollouts = native"
            raise UserError(what, str(self._log), f"at most {most} in {policy.dtype}", fix)
        return replace(rows, logp=found.logp, logp_old=found.logp_action, importance=apart.exp())

    def _send(self, policy: Policy) -> None:
        """Gives the server the policy's weights, unless it has them."""
        if (weights := fingerprint_weights(policy.model)) == self._sent:
            return
        write_untied(policy, self._model)
        self._sent = weights
        if self._process:
            reload = {"method": "reload_weights", "kwargs": {"weights_path": str(self._model)}}
            try:
                self._ask("POST", "/collective_rpc", reload)
                if not json.loads(self._ask("POST", "/reset_prefix_cache"))["success"]:
                    self._end()
            except ServerLost:
                self._end()

    def _answers(self, policy: Policy, asked: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, list[Any]]]:
        """(number, choices) of each request as it is answered; what a server has left open that died is asked again."""
        left, deaths = dict(enumerate(asked)), 0
        while left:
            try:
                self._start(policy)
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    futures = {pool.submit(self._ask, "POST", "/v1/completions", body): p for p, body in left.items()}
                    for future in as_completed(futures):
                        choices = json.loads(future.result())["choices"]
                        del left[futures[future]]
                        yield futures[future], choices
            except ServerLost as lost:
                self._end()
                if (deaths := deaths + 1) == MOST_DEATHS:
                    what = f"vLLM was lost {deaths} times over the same programs, at last by {lost}"
                    raise UserError(what, str(self._log), fix="see its log; then go on with --resume") from lost
                self._say(f"vLLM is lost ({lost}): it is started again and asked for {len(left)} prompts once more")

    def _start(self, policy: Policy) -> None:
        """Starts the server on the weights that were sent last, unless it is running. UserError where it does not."""
        if self._closed:
            raise ServerLost("the run is over")
        if self._process:
            return
        options = ["--model", str(self._model), "--dtype", str(policy.dtype).partition(".")[2], "--uds", self._socket]
        options += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"]
        if policy.device.type == "cpu":  # requests with seeds of their own end it where a prompt is read in parts
            longest = max(policy.positions or 0, 8192)
            options += ["--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(longest)]
        command = [self._python, "-c", SERVE, *options, *shlex.split(os.environ.get(OPTIONS, ""))]
        Path(self._socket).unlink(missing_ok=True)  # a server that was killed has left it
        with self._log.open("a") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(command, env=os.environ | ITS_OWN, start_new_session=True, **streams)
        while (code := self._process.poll()) is None:
            with suppress(ServerLost):
                self._ask("GET", "/health")
                return
            time.sleep(0.2)
        fix = f"see its log, {PYTHON} and {OPTIONS}; then go on with --resume"
        raise UserError(f"vLLM did not start (exit code {code})", str(self._log), fix=fix)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """What the server answers. ServerLost where it does not, UserError where it refuses."""
        connection = HTTPConnection("localhost")
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self._socket)
            connection.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise ServerLost(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if 400 <= answer.status < 500:
            raise UserError(f"vLLM refuses {path}: {text[:500].decode(errors='replace')}", str(self._log))
        if answer.status != 200:
            raise ServerLost(f"HTTP status {answer.status}")
        return text

    def _end(self) -> None:
        """Ends the server with all that it has started."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def requests(
    policy: Policy, prompts: Sequence[Sequence[int]], samples: int, params: SamplingParams, seeds: Sequence[int],
    stops: Sequence[tuple[str, ...]], begun: Sequence[Sequence[int]],
) -> list[dict[str, Any]]:  # fmt: skip
    """What the server is asked for, a request for each prompt."""
    before, room = prefixes(policy, prompts, begun), [params.max_new_tokens - len(ids) for ids in begun]
    shared = {"n": samples, "temperature": params.temperature, "logprobs": 0, "return_token_ids": True}
    shared |= {"stop_token_ids": sorted(policy.end_ids)}
    each = zip(before, seeds[::samples], room, stops, strict=True)
    return [{"prompt": p, "seed": seed, "max_tokens": most, "stop": stop} | shared for p, seed, most, stop in each]


def write_untied(policy: Policy, folder: Path) -> None:
    """Writes the policy as a folder of Hugging Face whose output head is a matrix of its own: a tied one that vLLM has
    packed for a CPU outlives a reload."""
    head = policy.model.get_output_embeddings()
    weight = whole(head.weight.detach())
    if not ranks.rank():
        shutil.rmtree(folder, ignore_errors=True)
    policy.save(folder)
    if ranks.rank() or head.weight is not policy.model.get_input_embeddings().weight:
        return
    name = next(name for name, module in policy.model.named_modules() if module is head)
    save_file({f"{name}.weight": weight.contiguous()}, folder / "head.safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
