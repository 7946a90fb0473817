"""SIGKILL of a random rank at random moments; the others start it again. What comes out must be what one process gives.

    python tests/rank_kills.py --kills 30 [--launch torchrun | ray]

Midtraining, RLVR and evaluation take turns, on 2 and on 4 ranks, with four lanes. torchrun starts them again by its
--max-restarts; the Ray cluster is one of its own, which sees the loopback device alone.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from cli_runs import ra3
from kills import COMMANDS, SHARED, count_work, product
from ray_cluster import ENVIRONMENT, inside, ray_cluster

LANES = ["--run.lanes", 4]
LONGEST_S = 1.0
"""A kill comes so long after the first step of an attempt at the latest."""
LOST_S = 1800
"""After so long something hangs."""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", 100]


def words(command: str, name: str, *more: object) -> list[object]:
    """The command line of the run folder `name`."""
    return [command, "--run.name", name, *SHARED, *LANES, *COMMANDS[command], *more]


def launched(launcher: str, count: int, own: list[object]) -> list[str]:
    """The command line that runs ra3 with the words `own` on `count` ranks."""
    if launcher == "torchrun":
        return [*map(str, [sys.executable, *TORCHRUN, "--nproc-per-node", count, "-m", "ra3", *own, "--resume"])]
    line = [sys.executable, "-m", "ra3", *map(str, own), "--ranks", str(count)]
    return inside(*line, "--launch", "ray") if launcher == "ray" else line


def killed_run(
    home: Path, command: str, name: str, count: int, kills: int, chance: random.Random, launcher: str = "local"
) -> int:
    """One run on `count` ranks, of which `kills` are killed one after the other; how many it met before its end.
    AssertionError where it ends in an error, or loses or repeats work."""
    line, said, logs = launched(launcher, count, words(command, name)), home / f".{name}.txt", home / "runs" / name
    with said.open("w") as out, subprocess.Popen(line, cwd=home, env=ENVIRONMENT, stdout=out, stderr=out) as run:
        while (met := deaths(logs)) < kills and run.poll() is None:
            started = logs / "logs" / f"attempt_{met + 1}.rank_1" / "shown.log"
            wait_until(lambda own=started: run.poll() is not None or (own.exists() and own.read_text()))
            time.sleep(chance.uniform(0, LONGEST_S))
            if ranks := ranks_of(name):
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(ranks), signal.SIGKILL)
                wait_until(lambda before=met: run.poll() is not None or deaths(logs) > before)
        assert run.wait(LOST_S) == 0, said.read_text()
    count_work(home / "runs" / name)
    return deaths(logs)


def deaths(folder: Path) -> int:
    """The attempts that a run on ranks has made, less one."""
    found = [re.search(r"attempt_(\d+)\.rank_1$", str(own)) for own in folder.glob("logs/attempt_*.rank_1")]
    return max((int(own[1]) for own in found if own), default=1) - 1


def ranks_of(name: str) -> list[int]:
    """The processes that are ranks of the run `name`, by their command line and environment; not what they started."""
    found = dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if name in (folder / "cmdline").read_text().split("\0") and b"\0RANK=" in (folder / "environ").read_bytes():
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return sorted(pid for pid, parent in found.items() if parent not in found)


def wait_until(true: Callable[[], object]) -> None:
    """Waits until something is true."""
    end = time.monotonic() + LOST_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def kill_test(home: Path, launcher: str, kills: int, seed: int, say: Callable[[str], object]) -> None:
    """Kills ranks at least `kills` times. AssertionError where a run's bytes are not those of one process."""
    for command in COMMANDS:
        assert ra3(home, *words(command, f"{command}-alone")).returncode == 0
    chance, met, runs = random.Random(seed), 0, 0
    while met < kills:
        command, count = list(COMMANDS)[runs % len(COMMANDS)], 2 + 2 * (runs % 2)
        name, runs = f"{command}-{runs}", runs + 1
        own = killed_run(home, command, name, count, 4, chance, launcher)
        assert product(home / "runs" / name) == product(home / "runs" / f"{command}-alone"), name
        met += own
        say(f"{name} on {count} ranks: {own} ranks killed, equal to one process; {met} in all")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--launch", choices=("local", "torchrun", "ray"), default="local")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, ray_cluster() if given.launch == "ray" else nullcontext():
        kill_test(Path(home), given.launch, given.kills, given.seed, lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())
