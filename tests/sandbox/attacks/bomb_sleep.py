"""Wait without using any CPU time."""

import time


def f(x):
    time.sleep(1000)
