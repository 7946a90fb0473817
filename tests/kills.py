"""SIGKILL at random moments, resumed each time: what comes out must be what an undisturbed run gives.

    python tests/kills.py --kills 60

Every kind of work is hit: E-step, annotation, M-step, RLVR, evaluation, and the writing of a checkpoint. The moments
are random times after the start of such work, from a fixed seed. A run folder is killed again and again until it is
through; then the next one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cli_runs import Started, ra3

from ra3.run.files import read_lines

SHARED = [
    "--run.threads", 1, "--run.device", "cpu", "--run.checkpoint-every-s", 0,
    "--sandbox.workers", 1,
]  # fmt: skip
COMMANDS = {
    "midtrain": [
        "--corpus.documents", 8, "--corpus.heldout", 0.2, "--midtrain.em-rounds", 2,
        "--midtrain.estep.updates", 2, "--midtrain.estep.documents", 2, "--midtrain.estep.group-size", 2,
        "--midtrain.estep.max-latent-tokens", 2,
        "--midtrain.mstep.tokens", 400, "--midtrain.mstep.batch-documents", 2,
    ],
    "rlvr": ["--rlvr.steps", 5, "--rlvr.batch-problems", 2, "--rlvr.samples", 4, "--rlvr.max-new-tokens", 24],
    "eval": ["--eval.per-band", 8, "--eval.samples", 32, "--eval.k", 1, "--eval.max-new-tokens", 12],
}  # fmt: skip
KINDS = {
    "estep": "midtrain", "annotate": "midtrain", "mstep": "midtrain", "checkpoint": "midtrain", "rlvr": "rlvr",
    "eval": "eval",
}  # fmt: skip
"""Kinds of work, and the command whose runs are killed in it."""
LONGEST_S = {"estep": 0.5, "annotate": 0.4, "mstep": 0.3, "rlvr": 0.3, "eval": 0.4, "checkpoint": 0.02}
"""Kills come between 0 and this long after such work has begun; on a busy machine the work lasts longer."""
MOST_SKIPPED = {"estep": 3, "annotate": 1, "mstep": 3, "rlvr": 4, "eval": 2, "checkpoint": 9}
"""Kills come after fewer than this many beginnings of such work."""
PRODUCT = ("metrics.jsonl", "rollouts.jsonl", "results.json", "annotated.jsonl", "model/model.safetensors")


def command(name: str, *words: object) -> list[object]:
    """The command line of the run folder `name`, which begins with its command."""
    kind = name.split("-")[0]
    return [kind, "--run.name", name, *SHARED, *COMMANDS[kind], *words]


def mark_work() -> None:
    """In the process of a run: append a line to `.work` whenever a stage, a step or a checkpoint's writing begins."""
    import ra3.run.checkpoints as checkpoint
    from ra3.run.recorder import Recorder

    work = os.open(".work", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write, once, parts, log = checkpoint.write_atomic, Recorder.once, Recorder.parts, Recorder.log

    def marked_write(path, data):
        os.write(work, b"checkpoint\n")
        write(path, data)

    def marked_once(self, stage, compute):
        def marked():
            os.write(work, stage.split("-")[0].encode() + b"\n")
            return compute()

        return once(self, stage, marked)

    def marked_parts(self, stage, count, compute):
        def marked(part):
            os.write(work, stage.split("-")[0].encode() + b"\n")
            return compute(part)

        return parts(self, stage, count, marked)

    def marked_log(self, stage, *arguments):
        log(self, stage, *arguments)
        os.write(work, stage.encode() + b"\n")

    checkpoint.write_atomic = marked_write
    Recorder.once, Recorder.parts, Recorder.log = marked_once, marked_parts, marked_log


def product(folder: Path) -> dict[str, bytes]:
    """Everything that a run folder says about its result, file by file."""
    return {name: (folder / name).read_bytes() for name in PRODUCT if (folder / name).exists()}


def count_work(folder: Path) -> int:
    """Steps, rollouts, annotated documents and graded problems: how many. AssertionError if one is missing or twice."""
    steps = [(line["stage"], line["round"], line["step"]) for line in read_lines(folder / "metrics.jsonl")]
    by_stage = {place: [step for *other, step in steps if other == list(place)] for place in {s[:2] for s in steps}}
    assert all(found == list(range(len(found))) for found in by_stage.values()), f"{folder}: {by_stage}"
    written = [line["id"] for line in read_lines(folder / "annotated.jsonl")]
    graded = [row["id"] for row in json.loads((folder / "results.json").read_text()).get("problems", [])]
    assert len(set(written)) == len(written) and len(set(graded)) == len(graded)
    return len(steps) + len(written) + len(graded) + len(list(read_lines(folder / "rollouts.jsonl")))


class Killer:
    """Kills runs in `home`, the kinds of work in turn, at random moments from `seed`."""

    def __init__(self, home: Path, seed: int):
        self.home, self.random, self.hits = home, random.Random(seed), Counter(dict.fromkeys(KINDS, 0))

    @property
    def kills(self) -> int:
        """Kills so far."""
        return self.hits.total()

    def least(self, *kinds: str) -> str:
        """The kind of work that was hit least."""
        return min(kinds or KINDS, key=lambda kind: (self.hits[kind], self.random.random()))

    def attempt(self, name: str) -> bool:
        """One attempt at the run `name`, killed in the kind of its work that was hit least; True if it got through."""
        kind = self.least(*(kind for kind, command in KINDS.items() if command == name.split("-")[0]))
        skipped, delay = self.random.randrange(MOST_SKIPPED[kind]), self.random.uniform(0, LONGEST_S[kind])
        work = self.home / ".work"
        work.unlink(missing_ok=True)
        run = Started(self.home, command(name, "--resume"), mark_work)
        run.wait_until(lambda: work.exists() and work.read_text().split().count(kind) > skipped, timeout_s=1800)
        if run.process.is_alive():
            time.sleep(delay)
            run.signal(signal.SIGKILL)
        ended = run.wait()
        if ended.returncode == -signal.SIGKILL:
            self.hits[kind] += 1
            return False
        assert ended.returncode == 0, ended.stderr
        return True


def kill_test(home: Path, kills: int, seed: int, say: Callable[[str], object] = str) -> str:
    """Kills runs at least `kills` times; a sentence about them. AssertionError where a result differs."""
    for kind in COMMANDS:
        whole = ra3(home, *command(f"{kind}-whole"))
        assert whole.returncode == 0, whole.stderr
    killer, runs, counted = Killer(home, seed), 0, 0
    while killer.kills < kills:
        kind = KINDS[killer.least()]
        name, runs, before = f"{kind}-{runs}", runs + 1, killer.kills
        while not killer.attempt(name):
            if killer.kills >= kills:
                ended = ra3(home, *command(name, "--resume"))
                assert ended.returncode == 0, ended.stderr
                break
        wanted, found = product(home / "runs" / f"{kind}-whole"), product(home / "runs" / name)
        different = [file for file in wanted.keys() | found.keys() if wanted.get(file) != found.get(file)]
        assert not different, f"{name} differs from the undisturbed run in {sorted(different)}"
        assert count_work(home / "runs" / name) == count_work(home / "runs" / f"{kind}-whole")
        counted += count_work(home / "runs" / name)
        shutil.rmtree(home / "runs" / name)
        say(f"{name}: {killer.kills - before} kills, equal to the undisturbed run")
    spread = ", ".join(f"{kind} {count}" for kind, count in killer.hits.items())
    return (
        f"{killer.kills} kills ({spread}) in {runs} runs: weights, metrics, rollouts, annotations and results equal "
        f"those of undisturbed runs, byte for byte; {counted} steps, rollouts, documents and problems, none skipped or "
        "repeated"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(kill_test(Path(folder), arguments.kills, arguments.seed, say=lambda text: print(text, flush=True)))
    sys.exit(0)
