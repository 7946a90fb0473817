"""Thousands of threads that never end."""

import threading
import time


def f(x):
    for _ in range(5000):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    return 0
