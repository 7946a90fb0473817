"""What a child inherits: the layout of the server's own code."""

import sys
from pathlib import Path

import pytest

from ra3.sandbox import Sandbox
from ra3.sandbox.inside import kernel, pages

MAPS = """\
1000-2000 r--p 00000000 fe:00 7 /lib/a.so
2000-5000 r-xp 00001000 fe:00 7 /lib/a.so
5000-6000 r--p 00004000 fe:00 7 /lib/a.so
6000-7000 r--p 00004000 fe:00 7 /lib/a.so
7000-8000 rw-p 00005000 fe:00 7 /lib/a.so
9000-a000 r--p 00000000 fe:00 8 /locale
a000-b000 r-xp 00000000 00:00 0
c000-d000 r-xp 00000000 fe:00 9 /lib/b c.so
d000-e000 r--p 00001000 fe:00 7 /lib/a.so
"""


def test_code_is_what_lies_without_a_gap_in_memory_and_file():
    assert list(pages.code(MAPS)) == [(0x1000, 0x6000), (0xC000, 0xD000)]
    assert list(pages.code("")) == []


@pytest.mark.skipif(sys.platform != "linux" or kernel.MACHINE != "x86_64", reason="only there is code laid out anew")
def test_a_library_has_one_read_only_mapping_beside_the_relocated_one():
    with Sandbox(workers=1) as sandbox:
        (zygote,) = sandbox._zygotes.values()
        lines = [line.split() for line in Path(f"/proc/{zygote.pid}/maps").read_text().splitlines()]
    rights = [line[1] for line in lines if line[-1].endswith(".so") and "lib-dynload" in line[-1]]
    assert rights.count("r-xp") > 10
    assert rights.count("r--p") <= rights.count("r-xp")
