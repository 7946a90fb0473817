"""SIGKILL of a random rank at random moments; the others start it again. What comes out must be what one process gives.

    python tests/rank_kills.py --kills 30

Midtraining, RLVR and evaluation take turns, on 2 and on 4 ranks, with four lanes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cli_runs import Started, ra3
from kills import COMMANDS, SHARED, count_work, product
from processes import children

LANES = ["--run.lanes", 4]
LONGEST_S = 1.0
"""A kill comes so long after the first step of an attempt at the latest."""


def words(command: str, name: str, *more: object) -> list[object]:
    """The command line of the run folder `name`."""
    return [command, "--run.name", name, *SHARED, *LANES, *COMMANDS[command], *more]


def killed_run(home: Path, command: str, name: str, count: int, kills: int, chance: random.Random) -> int:
    """One run on `count` ranks, of which `kills` are killed one after the other; how many it met before its end.
    AssertionError where it ends in an error, or loses or repeats work."""
    run, done = Started(home, words(command, name, "--ranks", count)), 0
    while done < kills and run.process.is_alive():
        log = home / "runs" / name / "logs" / f"attempt_{done + 1}.rank_1" / "shown.log"
        run.wait_until(lambda log=log: log.exists() and log.read_text(), timeout_s=600)
        time.sleep(chance.uniform(0, LONGEST_S))
        if ranks := ranks_of(run):
            os.kill(killed := chance.choice(ranks), signal.SIGKILL)
            run.wait_until(lambda: killed not in ranks_of(run))
            done += run.process.is_alive()
    ended = run.wait(600)
    assert ended.returncode == 0, ended.stderr
    met = ended.stderr.count("was killed by SIGKILL; all go on from the last checkpoint")
    count_work(home / "runs" / name)
    return met


def ranks_of(run: Started) -> list[int]:
    """The processes that a command has started; none where it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return children(run.process.pid or 0)
    return []


def kill_test(home: Path, kills: int, seed: int, say: Callable[[str], object]) -> None:
    """Kills ranks at least `kills` times. AssertionError where a run's bytes are not those of one process."""
    for command in COMMANDS:
        assert ra3(home, *words(command, f"{command}-alone")).returncode == 0
    chance, met, runs = random.Random(seed), 0, 0
    while met < kills:
        command, count = list(COMMANDS)[runs % len(COMMANDS)], 2 + 2 * (runs % 2)
        name, runs = f"{command}-{runs}", runs + 1
        own = killed_run(home, command, name, count, 4, chance)
        assert product(home / "runs" / name) == product(home / "runs" / f"{command}-alone"), name
        met += own
        say(f"{name} on {count} ranks: {own} ranks killed, equal to one process; {met} in all")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        kill_test(Path(home), given.kills, given.seed, lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())
