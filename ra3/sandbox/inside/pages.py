"""Fewer mappings and page faults for every child, by laying out anew the server's own code, which no child changes.

A fork copies every mapping, and a child faults in each page of a mapped file by itself. So each library's constants
and code become one mapping, and where they fill huge pages (in the interpreter's own), these replace the file's: a
child then inherits two entries in place of some 45 faults. Linux on x86-64 only, elsewhere nothing is done; what a
kernel declines stays as it is.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

from . import kernel

MMAP, MPROTECT, MUNMAP, MREMAP, MADVISE = 9, 10, 11, 25, 28
READ_WRITE, READ_EXECUTE = 3, 5
PRIVATE_ANONYMOUS, MADV_HUGEPAGE, MREMAP_MAYMOVE_FIXED = 0x22, 14, 3
HUGE = 1 << 21
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def compact_code():
    """Merge each file's mappings of code and constants, and put what fills huge pages into such."""
    if not kernel.LINUX or kernel.MACHINE != "x86_64":
        return
    with contextlib.suppress(OSError):
        huge = "[never]" not in HUGE_PAGES.read_text()
        for start, end in list(code(Path("/proc/self/maps").read_text())):
            kernel.syscall(MPROTECT, start, end - start, READ_EXECUTE)
            first, last = -(-start // HUGE) * HUGE, end // HUGE * HUGE
            if huge and first < last:
                _use_huge_pages(first, last - first)


def code(maps: str) -> Iterator[tuple[int, int]]:
    """Start and end of each run of read-only mappings, without a gap in memory or in their file, that has code in it.

    ``maps`` is the text of ``/proc/PID/maps``.
    """
    start, executable = 0, False
    follows: tuple = ()
    for line in maps.splitlines():
        place, rights, offset, *file = line.split(maxsplit=5)
        low, high = (int(number, 16) for number in place.split("-"))
        read_only = rights.startswith("r-") and len(file) == 3
        if not read_only or (low, int(offset, 16), file) != follows:
            if executable:
                yield start, follows[0]
            start, executable = low, False
        follows = (high, int(offset, 16) + high - low, file) if read_only else ()
        executable |= read_only and "x" in rights
    if executable:
        yield start, follows[0]


def _use_huge_pages(start: int, size: int):
    """Replace read-only memory by a copy: in one step of the kernel's, since what runs meanwhile may lie there."""
    area = kernel.syscall(MMAP, 0, size + HUGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
    copy = -(-area // HUGE) * HUGE
    for low, high in ((area, copy), (copy + size, area + size + HUGE)):
        if low < high:
            kernel.syscall(MUNMAP, low, high - low)
    kernel.syscall(MADVISE, copy, size, MADV_HUGEPAGE)
    ctypes.memmove(copy, start, size)
    kernel.syscall(MPROTECT, copy, size, READ_EXECUTE)
    kernel.syscall(MREMAP, copy, size, size, MREMAP_MAYMOVE_FIXED, start)
