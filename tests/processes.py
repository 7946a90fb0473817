"""Looking at processes from outside."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ra3 import ranks


def children(pid: int) -> list[int]:
    """The processes that a process started and that are still there, zombies included."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def resident_kb(pid: int) -> int:
    """Resident memory, shared pages included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def open_files(pid: int) -> int:
    """Open descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def on_two_ranks(folder: Path, work: Callable[[], Any]) -> list[Any]:
    """What `work` gives on each of two ranks, forks of this process that find each other in `folder`."""

    def run(rank: int) -> None:
        os.environ |= ranks.variables_here(rank, 2, folder)
        ranks.join(60)
        torch.save(work(), folder / f"{rank}.pt")
        ranks.leave()
        os._exit(0)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(500)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
