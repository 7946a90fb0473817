"""End the main thread alone and leave a sleeper: the process is neither dead nor alive."""

import ctypes
import platform
import threading
import time


def f(x):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    ctypes.CDLL(None).syscall({"x86_64": 60}.get(platform.machine(), 93), 0)
