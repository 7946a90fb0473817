"""Ignore every signal there is, then compute for ever."""

import signal

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        continue


def f(x):
    while True:
        pass
