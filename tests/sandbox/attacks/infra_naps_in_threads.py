"""Thirty threads that nap: one of them nearly always wants a core, and together they use little."""

import threading
import time

threading.stack_size(1 << 18)


def nap():
    while True:
        time.sleep(0.02)


def f(x):
    for _ in range(30):
        threading.Thread(target=nap, daemon=True).start()
    nap()
