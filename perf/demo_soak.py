"""The demo's loop for hours in one process: does its memory grow, does it leave files open?

    python perf/demo_soak.py --hours 6 --out runs/soak

Each loop is a whole demo (E-step, annotation, M-step, RLVR, evaluation) with the demo's shapes and fewer steps, on a
seed of its own. Resident memory and open descriptors of this process and of the sandbox's servers go to
OUT/vitals.jsonl every few seconds. Stopped and started again it goes on with the loop in hand; hours are added up over
all attempts. After every loop, at the end and with --show it compares the first with the last quarter of each process's
loops, its first left out as warm-up. Exit code 1 if the usual or the lowest memory of a loop has grown by more than a
twentieth, or the fewest descriptors at all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from itertools import groupby
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from processes import children, open_files, resident_kb  # pyright: ignore[reportMissingImports]

from ra3.commands.run import RunOptions
from ra3.compare.demo import run
from ra3.config.load import load

FEWER = {
    "midtrain.estep.updates": 4, "midtrain.mstep.tokens": 20_000, "corpus.documents": 240, "rlvr.steps": 6,
    "eval.per_band": 12, "run.checkpoint_every_s": 10,
}  # fmt: skip
GROWTH = 1.05


class Vitals:
    """Writes a line about this process into a file every few seconds, from a thread; `loop` is the loop in hand."""

    def __init__(self, path: Path, attempt: int, every_s: float):
        self._file, self._attempt, self._every_s = path.open("a", buffering=1), attempt, every_s
        self.loop, self._start, self._over = 0, time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Vitals:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._file.close()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self._file.write(json.dumps(self._now()) + "\n")

    def _now(self) -> dict[str, float]:
        servers = []
        for child in children(os.getpid()):
            try:
                servers.append((resident_kb(child), open_files(child)))
            except OSError:  # it has just ended
                continue
        return {
            "attempt": self._attempt, "loop": self.loop, "seconds": round(time.monotonic() - self._start, 1),
            "cpu_s": round(time.process_time(), 1), "kb": resident_kb(os.getpid()), "files": open_files(os.getpid()),
            "server_kb": max((kb for kb, _ in servers), default=0), "servers": len(servers),
            "server_files": max((files for _, files in servers), default=0),
        }  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def hours(lines: list[dict[str, Any]]) -> float:
    """Of all attempts together."""
    return sum(max(line["seconds"] for line in own) for _, own in groupby(lines, lambda line: line["attempt"])) / 3600


def levels(own: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Of each loop: medians of memory, which do not depend on how often a fast or a slow loop was looked at, and the
    least of memory and descriptors, `low_kb` and `low_files`, which is what stays. A server that has just been forked
    looks like this process."""
    found = []
    for _, lines in groupby(own, lambda line: line["loop"]):
        loop = list(lines)
        level = {key: max(line[key] for line in loop) for key in ("loop", "seconds", "cpu_s")}
        level["kb"] = median(line["kb"] for line in loop)
        for key in ("kb", "files"):
            level[f"low_{key}"] = min(line[key] for line in loop)
        for key in ("server_kb", "server_files"):
            level[key] = median([line[key] for line in loop if line["servers"]] or [0])
        found.append(level)
    return found


def quarters(later: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Medians over the first and over the last quarter of the loops: every loop has a seed of its own, and its peak
    depends on it."""
    size = len(later) // 4
    first, last = later[:size], later[-size:]
    return tuple({key: median(level[key] for level in part) for key in part[0]} for part in (first, last))  # type: ignore[return-value]


def verdict(lines: list[dict[str, Any]]) -> tuple[str, bool]:
    """A line for each process, and whether all were flat after their first loop. The loop in hand does not count."""
    told, flat = [f"{hours(lines):.2f} hours, {len({line['loop'] for line in lines}) - 1} loops"], True
    for attempt, own in groupby(lines, lambda line: line["attempt"]):
        later = levels(list(own))[1:-1]
        if len(later) < 8:
            told.append(f"process {attempt}: {len(later)} whole loops after its first, too few to tell")
            flat = False
            continue
        first, last = quarters(later)
        slope = linear_regression([p["seconds"] / 3600 for p in later], [p["low_kb"] / 1024 for p in later]).slope
        told.append(
            f"process {attempt}: {len(later)} loops after its first in "
            f"{(later[-1]['seconds'] - later[0]['seconds']) / 3600:.2f} hours "
            f"({later[-1]['cpu_s'] - later[0]['cpu_s']:.0f} s of CPU); first and last quarter, medians: "
            f"memory {first['kb'] / 1024:.0f} -> {last['kb'] / 1024:.0f} MB, "
            f"lowest {first['low_kb'] / 1024:.0f} -> {last['low_kb'] / 1024:.0f} MB ({slope:+.1f} MB per hour), "
            f"files {first['low_files']:.0f} -> {last['low_files']:.0f}; "
            f"servers {first['server_kb'] / 1024:.1f} -> {last['server_kb'] / 1024:.1f} MB, "
            f"files {first['server_files']:.0f} -> {last['server_files']:.0f}"
        )
        level = all(last[key] <= GROWTH * first[key] for key in ("kb", "low_kb", "server_kb"))
        flat = flat and level and all(last[key] <= first[key] for key in ("low_files", "server_files"))
    return "\n".join(told), flat


def soak(out: Path, until_h: float, every_s: float) -> None:
    """Loops until the hours of all attempts are over; a finished loop's folder is removed."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "vitals.jsonl"
    before = read(path)
    attempt = 1 + max((line["attempt"] for line in before), default=0)
    loop = max((line["loop"] for line in before), default=0)
    with Vitals(path, attempt, every_s) as vitals:
        while hours(read(path)) < until_h:
            vitals.loop = loop
            name = {"run.seed": loop, "run.out": str(out), "run.name": f"loop-{loop}", "run.threads": 1}
            folder = run(load(["demo"], {**FEWER, **name}), RunOptions("demo", ("demo",), resume=True))
            shutil.rmtree(folder)
            loop += 1
            print(verdict(read(path))[0], flush=True)


def main() -> int:
    """Exit code 0 if all was flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    parser.add_argument("--show", action="store_true", help="only what is there so far")
    options = parser.parse_args()
    if not options.show:
        soak(options.out, options.hours, options.every_s)
    told, flat = verdict(read(options.out / "vitals.jsonl"))
    print(f"{told}\nflat: {flat}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
