"""Small runs of ra3 through the command line, and what tests of faults and restarts ask of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from cli_runs import Ended, ra3

SMALL = [
    "--run.threads", "1", "--run.device", "cpu", "--corpus.documents", "8", "--corpus.heldout", "0",
    "--midtrain.estep.updates", "3", "--midtrain.estep.documents", "2", "--midtrain.estep.group-size", "2",
    "--midtrain.estep.max-latent-tokens", "3", "--midtrain.mstep.batch-documents", "4",
    "--midtrain.estep.learning-rate", "1e-3", "--midtrain.mstep.learning-rate", "1e-3",
    "--run.checkpoint-every-s", 0,
]  # fmt: skip
RLVR = [
    "--run.threads", "1", "--rlvr.steps", 3, "--rlvr.batch-problems", 2, "--rlvr.samples", 2,
    "--rlvr.max-new-tokens", 8, "--sandbox.workers", 1, "--run.checkpoint-every-s", 0,
]  # fmt: skip


def midtrain(name: str, *words: object) -> list[object]:
    """A command line."""
    return ["midtrain", "--model", "tiny", "--run.name", name, *SMALL, *words]


def rlvr(name: str, *words: object) -> list[object]:
    """A command line."""
    return ["rlvr", "--model", "tiny", "--run.name", name, *RLVR, *words]


def refused(ended: Ended, *parts: str) -> None:
    """One message with every part in it, exit code 2, no stack trace."""
    message = ended.stderr
    assert ended.returncode == 2, message
    assert message.startswith("ra3: ") and message.count("ra3: ") == 1 and "Traceback" not in message, message
    for part in parts:
        assert part in message, (part, message)


def went_on(home: Path, words: list[object], whole: Path) -> Ended:
    """The run goes on and gives what the undisturbed one gave."""
    ended = ra3(home, *words, "--resume")
    assert ended.returncode == 0, ended.stderr
    folder = home / "runs" / str(words[words.index("--run.name") + 1])
    same(folder, whole)
    return ended


def same(folder: Path, whole: Path) -> None:
    """The same metrics and weights, byte for byte."""
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def copy(whole: Path, name: str) -> Path:
    """A copy of a run folder beside it."""
    return Path(shutil.copytree(whole, whole.parent / name))


def undisturbed(home: Path, words: list[object]) -> Path:
    """Runs a command line to its end; its run folder."""
    ended = ra3(home, *words)
    assert ended.returncode == 0, ended.stderr
    return home / "runs" / str(words[words.index("--run.name") + 1])
