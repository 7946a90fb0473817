"""Answer a judge in the middle of a frame and sleep: both wait for each other."""

import contextlib
import os
import time


def f(x):
    with contextlib.suppress(OSError):
        os.write(5, b"\x02\x00")
    time.sleep(1000)
