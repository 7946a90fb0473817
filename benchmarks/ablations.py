"""What each part of the method is there for: mid-training with one thing changed, then evaluation, side by side.

    python benchmarks/ablations.py --seeds 30 31 --out runs/ablations --workers 2

Each variant is one `ra3 midtrain demo` with other settings and one `ra3 eval` of what it made; finished ones are not
run again. Prints means over the seeds: pass@1 by band, by chain length how often an intention comes first, and the time
of mid-training as a multiple of the first row's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

ESTEP = "--midtrain.estep."
VARIANTS: dict[str, list[str]] = {
    "RA3 as the demo has it": [],
    "c = 0": [f"{ESTEP}switch-penalty", "0"],
    "c large from the start (1.0)": [f"{ESTEP}switch-penalty", "1.0", f"{ESTEP}penalty-growth", "1"],
    "c does not grow (0.1)": [f"{ESTEP}penalty-growth", "1"],
    "no latent dropout": ["--midtrain.mstep.latent-dropout", "0"],
    "horizon 1": [f"{ESTEP}horizon", "1"],
    "no baseline in the group": [f"{ESTEP}advantage", "none"],
    "comments compared with all rollouts": [f"{ESTEP}comment-baseline", "all"],
    "a floor of 0.25 under thinking for 8 updates": [f"{ESTEP}think-floor", "0.25", f"{ESTEP}floor-updates", "8"],
    "one EM round, as many tokens": ["--midtrain.em-rounds", "1", "--midtrain.mstep.tokens", "200000"],
    "NTP: the M-steps without latents": ["--midtrain.method", "ntp"],
    "NTP, five times the tokens": ["--midtrain.method", "ntp", "--midtrain.mstep.tokens", "500000"],
}


def run(name: str, options: list[str], seed: int, out: Path) -> Path:
    """One variant on one seed, or what is missing of it; returns the folder of its evaluation."""
    slug = "".join(c if c.isalnum() else "-" for c in name.lower())
    made, graded = f"{slug}-{seed}", f"{slug}-{seed}-eval"
    common = ["--seed", str(seed), "--out", str(out), "--resume"]
    if not (out / graded / "results.json").exists():
        ra3("midtrain", "demo", "--name", made, *common, *options)
        ra3("eval", "demo", "--model", str(out / made / "model"), "--name", graded, *common)
    return out / graded


def ra3(*words: str) -> None:
    """The command line, in a process of its own."""
    subprocess.run([sys.executable, "-m", "ra3", *words], check=True, stdout=subprocess.DEVNULL)


def minutes(folder: Path) -> float:
    """Minutes that the updates of a mid-training run took; only ratios within one table mean anything."""
    elapsed: dict[str, float] = {}
    for line in map(json.loads, (folder / "timing.jsonl").read_text().splitlines()):
        elapsed[line["attempt"]] = max(elapsed.get(line["attempt"], 0.0), line["elapsed_s"])
    return sum(elapsed.values()) / 60


def summary(folders: list[Path]) -> str:
    """Means over the seeds, as the cells of one row."""
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    cells = []
    for band in ("known", "edge", "hard"):
        own = [row["mean"] for r in results for row in r["rows"] if (row["band"], row["metric"]) == (band, "pass@1")]
        cells.append(f"{100 * mean(own):.1f}")
    for length in (1, 2, 3, 4):
        own = [p["mean"] for r in results for p in r["curves"]["think_rate_by_chain"] if p["x"] == length]
        cells.append(f"{mean(own):.2f}")
    return " | ".join(cells)


def main() -> None:
    """Runs what is owed and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    owed = [(name, options, seed, given.out) for name, options in VARIANTS.items() for seed in given.seeds]
    with ThreadPoolExecutor(given.workers) as pool:
        done = list(pool.map(lambda job: (job[0], run(*job)), owed))
    columns = ("variant", "known", "edge", "hard", "thinks at length 1", "2", "3", "4", "time")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    unit = 0.0
    for name in VARIANTS:
        folders = [folder for own, folder in done if own == name]
        took = mean(minutes(folder.with_name(folder.name.removesuffix("-eval"))) for folder in folders)
        unit = unit or took
        print(f"| {name} | {summary(folders)} | {took / unit:.2f} |")


if __name__ == "__main__":
    main()
