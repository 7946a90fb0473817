"""Nested 100,000 deep."""

import os
import struct


def f(x):
    frame = struct.pack("<Ic", 200_000, b"v") + b"[" * 100_000 + b"]" * 100_000
    while frame:
        frame = frame[os.write(3, frame) :]
    os._exit(0)
