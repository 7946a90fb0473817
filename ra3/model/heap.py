"""Memory that freed tensors left as holes in the heap goes back to the system.

The heap of glibc keeps what lies below its last live block: a step that leaves off in other sizes than the next one
takes leaves hundreds of MiB of holes that nothing fits into.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

WORTH_IT = 384 * 2**20
"""Bytes of holes from which they are given back. What is used again is asked for again, page by page, which for less
costs more time than the memory is worth."""


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "free", "top")
    ]


def give_back() -> None:
    """Does nothing where the C library is not glibc 2.33 or later."""
    if (library := _glibc()) and library.mallinfo2().free > WORTH_IT:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallinfo2") or not hasattr(library, "malloc_trim"):
        return None
    library.mallinfo2.restype = _Heap  # pyright: ignore[reportOptionalMemberAccess]
    return library
