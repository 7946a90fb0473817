"""What a step of next-token prediction takes with all weights and with an adapter: CPU seconds, peak memory.

    python perf/adapter_cost.py --model FOLDER --text FILE --ranks 0,16
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from ra3.commands.inputs import load_policy
from ra3.commands.speed import rows_of
from ra3.config.load import load
from ra3.em.mstep import next_token_step
from ra3.model.update import make_optimizer

STEPS = 3


def measure(model: str, text: str, rank: int, tokens: int) -> None:
    """Prints a row of the table: the fastest of a few steps; pi is in memory, too, as in a run."""
    config = load((), {"model.path": model, "run.threads": "1", "model.lora.rank": str(rank)})
    policy = load_policy(config.run, config.model)
    ids = policy.tokenizer(Path(text).read_text(encoding="utf-8"))["input_ids"]
    rows, learner = rows_of(policy, ids, tokens), policy.learner()
    optimizer, spent = make_optimizer(learner.model, "adamw", 1e-5), []
    for _ in range(STEPS):
        start = time.process_time()
        next_token_step(learner, optimizer, rows, config.update)
        spent.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    name = f"rank {rank}" if rank else "all weights"
    print(f"| {name} | {learner.learning_share:.1%} | {min(spent):.1f} | {peak:.2f} |", flush=True)


def main() -> None:
    """Each rank in a process of its own, so that the peak is its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--ranks", default="0,16")
    parser.add_argument("--tokens", type=int, default=1024)
    given = parser.parse_args()
    ranks = given.ranks.split(",")
    if len(ranks) == 1:
        measure(given.model, given.text, int(ranks[0]), given.tokens)
        return
    print(f"| {given.tokens} tokens | learn | CPU s a step | peak GiB |\n|---|---|---|---|", flush=True)
    for rank in ranks:
        words = ["--model", given.model, "--text", given.text, "--ranks", rank, "--tokens", str(given.tokens)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
