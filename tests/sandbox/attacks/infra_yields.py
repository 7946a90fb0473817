"""Give every turn away, and sleep a little so that nobody notices."""

import os
import time


def f(x):
    while True:
        os.sched_yield()
        time.sleep(1e-5)
