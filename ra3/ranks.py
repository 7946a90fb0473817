"""Ranks: the processes of one run, each of which does a share of its work. Alone, a process is rank 0 of 1.

All ranks run the same command on the same inputs, so what follows from these each of them knows by itself. What does
not - which stage is finished, whether a checkpoint is due, what the sandbox said - one rank finds out and tells the
others. Rank 0 writes the run folder and speaks.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
PEERS_LOST_CODE = 75
"""Exit code of a rank that lost the others, as of sysexits' EX_TEMPFAIL: it is not to blame, and the run can go on."""
MEETING_PLACE = "RA3_MEETING_PLACE"
"""Names the file by which the ranks of one machine find each other."""
_rank, _count = 0, 1


class PeersLost(Exception):
    """Another rank is gone, or did not come to a place where all of them meet, while this one was `doing` its part."""

    doing = "its start"

    def __str__(self) -> str:
        return f"rank {_rank} of {_count} lost the others in {self.doing}: {super().__str__()}"


def rank() -> int:
    """The number of this process among those of the run."""
    return _rank


def count() -> int:
    """Processes of the run."""
    return _count


def local_count() -> int:
    """Those of them on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _count > 1 else 1


def variables(rank: int, count: int, local_rank: int, local_count: int) -> dict[str, str]:
    """The environment that makes a process a rank, as torchrun sets it; `local`: among the ranks of its machine."""
    names = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
    return dict(zip(names, map(str, (rank, count, local_rank, local_count)), strict=True))


def variables_here(rank: int, count: int, folder: Path) -> dict[str, str]:
    """The same where all ranks are on this machine, and find each other by a file in `folder`."""
    return variables(rank, count, rank, count) | {MEETING_PLACE: f"file://{folder}/meet"}


def is_rank() -> bool:
    """Whether the environment, set by `--ranks` or torchrun, makes this process one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_WORLD_SIZE" in os.environ


def join(limit_s: float) -> None:
    """Joins the group that the environment describes. A rank waits for the others at most `limit_s` seconds, whenever
    they meet."""
    global _rank, _count
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    threading.Thread(target=_end_with_parent, args=(os.getppid(),), name="ra3-parent", daemon=True).start()
    if torch.cuda.is_available():  # a launcher may have made all others invisible
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    backend, limit = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timedelta(seconds=limit_s)
    with together():
        place = os.environ.get(MEETING_PLACE, "env://")
        own = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store, number, size = next(iter(rendezvous(place, *own, timeout=limit)))
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # what the dead left in torchrun's store is not ours
        store = distributed.PrefixStore(f"attempt{again}", store)  # pyright: ignore[reportPrivateImportUsage]
        distributed.init_process_group(backend, store=store, rank=number, world_size=size, timeout=limit)
    _rank, _count = number, size


def _end_with_parent(parent: int) -> None:
    """Ends this process when what has started it is gone: nobody would look after it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(PEERS_LOST_CODE)


def leave() -> None:
    """Leaves the group, if there is one, when all have come here: who closes his connections early may cut another one
    short. The group's threads must not outlive the interpreter, whose end would abort them."""
    global _rank, _count
    if _count > 1:
        from torch import distributed

        with together():
            distributed.barrier()
        distributed.destroy_process_group()
        _rank, _count = 0, 1


def from_first(find: Callable[[], T]) -> T:
    """What rank 0 finds, on every rank."""
    if _count == 1:
        return find()
    from torch import distributed

    told = [find() if _rank == 0 else None]
    with together():
        distributed.broadcast_object_list(told, src=0)
    return told[0]  # pyright: ignore[reportReturnType]


def from_all(value: T) -> list[T]:
    """The values of all ranks, on every rank."""
    if _count == 1:
        return [value]
    from torch import distributed

    told: list[T | None] = [None] * _count
    with together():
        distributed.all_gather_object(told, value)
    return told  # pyright: ignore[reportReturnType]


def add_up(values: Tensor) -> Tensor:
    """Adds the values of all ranks, in place. Exact where of each number only one rank's is not 0."""
    if _count > 1:
        from torch import distributed

        with together():
            distributed.all_reduce(values)
    return values


def add_in_tree(values: Tensor) -> Tensor:
    """Adds the values [N] of all W ranks in place, in one binary tree: (v0 + v1) + (v2 + v3). W is a power of two."""
    if _count == 1:
        return values
    import torch
    from torch import distributed

    padded = torch.nn.functional.pad(values, (0, -len(values) % _count))
    pieces = torch.empty_like(padded)
    with together():
        distributed.all_to_all_single(pieces, padded)
        distributed.all_gather(list(padded.chunk(_count)), tree_sum(list(pieces.chunk(_count))))
    return values.copy_(padded[: len(values)])


def tree_sum(parts: list[Tensor]) -> Tensor:
    """Adds up a power of two of tensors in a binary tree."""
    while len(parts) > 1:
        parts = [left + right for left, right in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


@contextmanager
def together() -> Iterator[None]:
    """Turns an error of the group, as where a rank is gone, into PeersLost."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [""])[0]
        raise PeersLost(re.sub(r"^\[\S+\] ", "", first).partition(". ")[0][:200]) from error
