"""The demo over several seeds, and what it shows: `python benchmarks/effect.py --seeds 1 2 3 --out runs/effect`.

Each seed is one `ra3 demo` with its own expert corpus, problems and sampling (the base model is shared); finished seeds
are not run again. Prints, on the edge band, each seed's pass@1, the paired differences over seeds with their 95%
interval (Student's t), and after how many RLVR steps RA3 passes NTP's final reward; of RA3 after mid-training also how
often it thinks by chain length, and where, how rightly and with what effect on the code.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median, stdev

MODELS = ("base", "ntp", "ra3", "ntp+rlvr", "ra3+rlvr")
T95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 14: 2.145, 19: 2.093}
"""97.5% quantiles of Student's t by degrees of freedom."""
SMOOTH = 3
"""RLVR rewards are averaged over so many steps before they are compared."""


def run(seed: int, out: Path, extra: list[str]) -> None:
    """One demo, or what is missing of it."""
    place = ["--seed", str(seed), "--out", str(out), "--name", f"seed-{seed}"]
    command = [sys.executable, "-m", "ra3", "demo", "demo", *place, "--resume", *extra]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def pass_rates(folder: Path, band: str) -> dict[str, float]:
    """pass@1 of each model on one band."""
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return {row["model"]: row["mean"] for row in rows if row["band"] == band and row["metric"] == "pass@1"}


def heldout(folder: Path, metric: str) -> float:
    """A measure of RA3 on held-out text; NaN where it wrote nothing to measure."""
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return next((row["mean"] for row in rows if (row["model"], row["metric"]) == ("ra3", metric)), math.nan)


def curve(folder: Path, name: str) -> dict[int, float]:
    """A measure of RA3 by chain length."""
    points = json.loads((folder / "results.json").read_text())["curves"].get(name, [])
    return {point["x"]: point["mean"] for point in points if point["model"] == "ra3"}


def rlvr_rewards(folder: Path) -> list[float]:
    """Smoothed reward of each RLVR step."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    rewards = [line["reward"] for line in lines if line["stage"] == "rlvr"]
    return [mean(rewards[max(0, i - SMOOTH + 1) : i + 1]) for i in range(len(rewards))]


def steps_share(folder: Path) -> float:
    """RA3's RLVR steps until it reaches NTP's final reward, as a share of NTP's steps; inf if it never does."""
    ntp, ra3 = rlvr_rewards(folder / "ntp-rlvr"), rlvr_rewards(folder / "ra3-rlvr")
    reached = next((step for step, reward in enumerate(ra3) if reward >= ntp[-1]), math.inf)
    return reached / len(ntp)


def paired(values: list[float]) -> str:
    """Mean of differences with the 95% interval over seeds, in points."""
    if len(values) < 2:
        return f"{100 * values[0]:+.1f} (one seed)"
    half = T95[len(values) - 1] * stdev(values) / len(values) ** 0.5
    return f"{100 * mean(values):+.1f} [{100 * (mean(values) - half):+.1f}, {100 * (mean(values) + half):+.1f}]"


def print_latents(folders: list[Path]) -> None:
    """What RA3's intentions are like after mid-training: median over seeds and the range."""
    print("\n| chain length | thinks | right where it thinks | nats gained |\n|---|---|---|---|")
    names = ("think_rate_by_chain", "comment_right_by_chain", "latent_gain_by_chain")
    curves = [[curve(folder, name) for folder in folders] for name in names]
    for length in sorted(curves[0][0]):
        cells = [spread([own[length] for own in found if length in own]) for found in curves]
        print(f"| {length} | {' | '.join(cells)} |")
    for metric in ("boundary_f1", "comments_right", "swap_changes_code"):
        print(f"{metric}: {spread([heldout(folder, metric) for folder in folders])}")


def spread(values: list[float]) -> str:
    """Median and range; NaN is left out."""
    there = [value for value in values if not math.isnan(value)]
    return f"{median(there):.2f} ({min(there):.2f} to {max(there):.2f})" if there else ""


def main() -> None:
    """Runs the seeds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/effect"))
    parser.add_argument("--band", default="edge")
    parser.add_argument("--workers", type=int, default=2)
    given, extra = parser.parse_known_args()
    with ThreadPoolExecutor(given.workers) as pool:
        list(pool.map(lambda seed: run(seed, given.out, extra), given.seeds))
    folders = [given.out / f"seed-{seed}" for seed in given.seeds]
    scores = [pass_rates(folder, given.band) for folder in folders]
    print(f"| seed | {' | '.join(MODELS)} |\n|---{'|---' * len(MODELS)}|")
    for seed, score in zip(given.seeds, scores, strict=True):
        print(f"| {seed} | {' | '.join(f'{100 * score[m]:.1f}' for m in MODELS)} |")
    for a, b in (("ra3", "base"), ("ra3", "ntp"), ("ntp", "base"), ("ra3+rlvr", "ntp+rlvr")):
        wins = sum(score[a] > score[b] for score in scores)
        print(f"{a} - {b}: {paired([s[a] - s[b] for s in scores])} points, {wins} of {len(scores)} seeds above 0")
    print_latents(folders)
    print(f"RLVR steps to NTP's final reward, share of NTP's: median {median(map(steps_share, folders)):.2f}")


if __name__ == "__main__":
    main()
