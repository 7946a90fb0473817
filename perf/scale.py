"""What ranks cost and bring: M-steps on one process and on 1, 2, 4 ranks of this machine over gloo.

    python perf/scale.py [--model MODEL] [--lanes 4] [--ranks 1 2 4] [--documents 16] [--steps 3] [--weak]
    RA3_VLLM_PYTHON=VENV/bin/python python perf/scale.py --vllm [--model MODEL] [--steps 3]

Every line is the same training, one thread a process, AdamW: alone with one lane (ra3 as it is without ranks), alone
with L lanes, with L lanes on W ranks, and on W ranks that hold shares (run.shard). Wall seconds a step, CPU seconds a
step of all ranks together, the share of the wall time that the first rank spends in adding up gradients (of shares: not
known, it happens inside the backward pass), peak memory of the largest rank, and whether the weights are, bit for bit,
those of L lanes alone. Strong scaling: the same documents for all; `--weak`: so many for each rank, and then the
weights differ by design. Ranks on one machine share its cores, so wall time can fall only while cores are left.

--vllm: what it costs that vLLM writes programs. Seconds until it has weights that have changed (written, read again),
and those of 32 programs of 64 tokens: its writing, and our scoring of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ra3 import ranks

os.environ["OMP_NUM_THREADS"] = "1"


def work(arguments: argparse.Namespace) -> None:
    """One rank: trains, and writes what it took."""
    import torch

    from ra3.commands.inputs import load_policy
    from ra3.config.settings import ModelSettings, RunSettings, UpdateSettings
    from ra3.data.corpus import read
    from ra3.data.latents import encode_all
    from ra3.em.mstep import next_token_step
    from ra3.model.lanes import whole
    from ra3.model.update import make_optimizer
    from ra3.rollout.interleave import expert_rows

    ranks.join(600)
    policy = load_policy(
        RunSettings(threads=1, lanes=arguments.lanes, shard=arguments.shard), ModelSettings(path=arguments.model)
    )
    library = str(Path(os.__file__).parent)
    corpus = read(library, "[a-h]*.py", documents=arguments.documents, max_bad=0.5, unit="function", filtered=True)
    documents, _ = encode_all(policy.syntax, corpus.documents, "line", 256)
    rows = expert_rows(policy, documents[: arguments.documents])
    optimizer, adding = make_optimizer(policy.model, "adamw", 1e-5), 0.0
    add_in_tree = ranks.add_in_tree

    def timed(values: torch.Tensor) -> torch.Tensor:
        nonlocal adding
        begin = time.perf_counter()
        add_in_tree(values)
        adding += time.perf_counter() - begin
        return values

    ranks.add_in_tree = timed
    next_token_step(policy, optimizer, rows, UpdateSettings())  # the first makes the optimiser's state
    adding, begin, cpu = 0.0, time.perf_counter(), time.process_time()
    for _ in range(arguments.steps):
        next_token_step(policy, optimizer, rows, UpdateSettings())
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    digest, peak = hashlib.sha256(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for parameter in policy.model.parameters():
        digest.update(whole(parameter.detach()).numpy().tobytes())
    tokens = int(rows.length.sum()) * arguments.steps
    found = {"wall": wall / arguments.steps, "cpu": cpu / arguments.steps, "adding": adding / wall, "tokens": tokens}
    all_known = not (arguments.shard and ranks.rank())  # of shares the first rank alone is given the whole
    found |= {"peak": peak, "weights": digest.hexdigest() if all_known else None}
    Path(arguments.worker, f"{ranks.rank()}.json").write_text(json.dumps(found))
    ranks.leave()


def measured(arguments: argparse.Namespace, lanes: int, count: int, shard: bool) -> list[dict]:
    """What each rank took."""
    documents = arguments.documents * (count if arguments.weak else 1)
    with tempfile.TemporaryDirectory() as folder:
        own = ["--model", arguments.model, "--lanes", lanes, "--documents", documents, "--steps", arguments.steps]
        command = [sys.executable, __file__, "--worker", folder, *map(str, own), *["--shard"] * shard]
        places = [ranks.variables_here(rank, count, Path(folder)) for rank in range(count)]
        started = [subprocess.Popen(command, env={"GLOO_SOCKET_IFNAME": "lo"} | os.environ | own) for own in places]
        if any(codes := [process.wait() for process in started]):
            raise SystemExit(f"ranks ended with {codes}")
        return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(count)]


def syncs(arguments: argparse.Namespace) -> None:
    """Prints what each change of the weights costs where vLLM writes."""
    import torch

    from ra3.commands.inputs import load_policy
    from ra3.config.settings import ModelSettings, RunSettings
    from ra3.model.update import score
    from ra3.rollout.generate import SamplingParams, generate
    from ra3.rollout.vllm import VllmServer

    policy = load_policy(RunSettings(threads=1), ModelSettings(path=arguments.model))
    prompts, head = [list(range(100 + p, 132 + p)) for p in range(4)], policy.model.get_output_embeddings().weight
    size = sum(own.nbytes for own in policy.model.state_dict().values()) / 2**30
    print(f"{'GiB of weights':>15}{'to vLLM, s':>12}{'written, s':>12}{'tokens/s':>10}{'scored, s':>11}")
    with tempfile.TemporaryDirectory() as folder, VllmServer(8192, Path(folder, "vllm.log"), print) as policy.writer:
        for step in range(arguments.steps + 1):
            with torch.no_grad():
                head *= 1.001
            start = time.perf_counter()
            policy.writer._send(policy)
            sent = time.perf_counter()
            rows = generate(policy, prompts, 8, SamplingParams(64), [32 * step + r for r in range(32)])
            ended = time.perf_counter()
            score(policy, rows, rows.action_mask & rows.valid, 8192)
            scoring, tokens = time.perf_counter() - ended, int(rows.action_mask.sum())
            if step:  # the first starts the server
                writing = ended - sent - scoring
                print(f"{size:15.2f}{sent - start:12.2f}{writing:12.2f}{tokens / writing:10.0f}{scoring:11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="functions")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--weak", action="store_true")
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--shard", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments)
    if arguments.vllm:
        return syncs(arguments)
    print(f"{'':22}{'wall s':>9}{'CPU s':>9}{'CPU, ratio':>12}{'adding up':>11}{'GiB':>7}{'tokens/s':>10}  weights")
    alone = reference = 0
    kinds = [(count, shard) for count in arguments.ranks for shard in (False, True) if count > 1 or not shard]
    for lanes, count, shard in [(1, 1, False), *((arguments.lanes, *kind) for kind in kinds)]:
        found = measured(arguments, lanes, count, shard)
        wall, cpu = max(own["wall"] for own in found), sum(own["cpu"] for own in found)
        weights = {own["weights"] for own in found} - {None}
        alone, reference = alone or cpu, reference or (lanes > 1 and weights)
        same = "" if lanes == 1 or arguments.weak else "the same" if weights == reference else "OTHER"
        name = f"{count} x {lanes // count} lanes{', shards' * shard}"
        speed = found[0]["tokens"] / arguments.steps / wall
        adding = f"{found[0]['adding']:11.1%}{max(own['peak'] for own in found):7.2f}"
        print(f"{name:22}{wall:9.2f}{cpu:9.2f}{cpu / alone:12.2f}{adding}{speed:10.0f}  {same}", flush=True)
    return None


if __name__ == "__main__":
    main()
