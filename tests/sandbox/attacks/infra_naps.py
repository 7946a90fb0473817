"""Nap, now and then at work: never at rest for long, never done."""

import time


def f(x):
    while True:
        time.sleep(0.003)
        sum(range(300))
