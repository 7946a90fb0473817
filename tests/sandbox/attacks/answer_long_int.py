"""An int of 900,000 digits."""

import os
import struct


def f(x):
    frame = struct.pack("<Ic", 900_000, b"v") + b"7" * 900_000
    while frame:
        frame = frame[os.write(3, frame) :]
    os._exit(0)
