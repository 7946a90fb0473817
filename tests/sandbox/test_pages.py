"""What a child inherits: the layout of the server's own code."""

import subprocess
import sys

import pytest

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


LAY_OUT = "import decimal, json, random; from ra3.sandbox.inside import pages; "
NUMBERS = "print(json.dumps([random.Random(1).random(), str(decimal.Decimal(2).sqrt())]))"


@pytest.mark.skipif(not kernel.LINUX or kernel.MACHINE != "x86_64", reason="only there is code laid out anew")
def test_code_laid_out_anew_runs_as_before_from_fewer_mappings():
    def run(step: str) -> tuple[str, list[str]]:
        command = [sys.executable, "-c", f"{LAY_OUT}{step}; {NUMBERS}; print(open('/proc/self/maps').read())"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        numbers, _, maps = said.partition("\n")
        return numbers, [line for line in maps.splitlines() if ".so" in line and " r--p " in line]

    (before, mappings), (after, fewer) = run("0"), run("pages.compact_code()")
    assert before == after
    assert len(fewer) <= len(mappings) / 2
