"""One side of `training_speed.py`: ra3's own M-step and RLVR step. `python training_ours.py TASK.json`.

For every line on standard input one optimiser step is taken and a line of JSON is printed: wall and CPU seconds, tokens
or samples, and the peak memory so far.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ra3.config.settings import UpdateSettings
from ra3.em.mstep import next_token_step, trained_tokens
from ra3.model.policy import Policy
from ra3.model.update import make_optimizer
from ra3.rl.advantages import ESTIMATORS
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import clipped_policy_loss
from ra3.rollout.generate import SamplingParams, generate
from ra3.rows import RowBuilder, Rows, build

Task = dict[str, Any]
Step = Callable[[int], dict[str, float]]
"""The number of the step -> what it worked on."""


def document_rows(documents: list[list[int]]) -> Rows:
    """Documents of ids as rows; all but the first token are trained on."""
    builders = []
    for i, ids in enumerate(documents):
        builder = RowBuilder.start(i, ids[:1])
        builder.force(ids[1:], 0, [0.0] * (len(ids) - 1))
        builders.append(builder)
    return build(builders)


def update_settings(task: Task) -> UpdateSettings:
    """Tokens of a pass, and whether activations are computed again."""
    return UpdateSettings(
        micro_batch_tokens=task["micro_batch_tokens"], checkpoint_activations=task.get("checkpointing", False)
    )


def mstep(policy: Policy, task: Task) -> Step:
    """Next-token prediction: step n trains on the n-th batch of documents, round and round."""
    optimizer = make_optimizer(policy.model, task.get("optimizer", "adamw"), 1e-5)
    batches = [document_rows(batch) for batch in task["batches"]]
    update = update_settings(task)

    def step(n: int) -> dict[str, float]:
        rows = batches[n % len(batches)]
        next_token_step(policy, optimizer, rows, update)
        return {"tokens": float(trained_tokens(rows).sum())}

    return step


def rlvr(policy: Policy, task: Task) -> Step:
    """Sampling, reward, advantage and update; the reward is one that differs within groups and costs nothing."""
    optimizer = make_optimizer(policy.model, "adamw", 1e-6)
    rules = SamplingParams(task["max_new_tokens"])
    loss = PolicyLoss(clipped_policy_loss, 0.2, 0.28)
    update = update_settings(task)
    prompts, samples = task["prompts"], task["samples"]

    def step(n: int) -> dict[str, float]:
        seeds = [n * 10**6 + i for i in range(len(prompts) * samples)]
        rows = generate(policy, prompts, samples, rules, seeds)
        reward = ((rows.ids * rows.action_mask).sum(1) % 7 / 7).unflatten(0, (-1, samples))
        advantage = ESTIMATORS["group_std"](reward, torch.ones_like(reward, dtype=torch.bool)).flatten()
        policy_step(policy, optimizer, rows, advantage[:, None] * rows.action_mask, loss, update)
        return {"samples": float(len(rows)), "tokens": float(rows.action_mask.sum())}

    return step


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(step: Step) -> None:
    """One step for every line that comes in."""
    for n, _ in enumerate(sys.stdin):
        wall, cpu = time.perf_counter(), time.process_time()
        done = step(n)
        spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps({**done, **spent, "peak_mib": peak_mib()}), flush=True)


def main() -> None:
    """Reads the task and serves."""
    task = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(task["threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = Policy.load(Path(task["model"]), "pretrained", torch.float32, device, 0)
    serve({"mstep": mstep, "rlvr": rlvr}[task["kind"]](policy, task))


if __name__ == "__main__":
    main()
