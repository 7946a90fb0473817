"""A reply of one byte now and then."""

import os
import struct
import time


def f(x):
    for byte in struct.pack("<Ic", 100_000, b"v") + b"[" * 100_000:
        os.write(5, bytes([byte]))
        time.sleep(0.05)
