"""Stop the clocks and answer quickly but wrongly."""

import signal
import time

time.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0.0
signal.setitimer(signal.ITIMER_REAL, 0)


def f(x):
    return 0
