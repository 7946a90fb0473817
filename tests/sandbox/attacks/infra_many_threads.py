"""Start as many threads as there can be, so that no server can fork."""

import threading
import time

threading.stack_size(32768)


def f(x):
    try:
        while True:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except (RuntimeError, MemoryError):
        pass
    time.sleep(1000)
