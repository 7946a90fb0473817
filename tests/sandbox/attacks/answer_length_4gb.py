"""A frame that announces 4 GB."""

import os
import struct


def f(x):
    frame = struct.pack("<Ic", 0xFFFFFFFF, b"v") + b"3"
    while frame:
        frame = frame[os.write(3, frame) :]
    os._exit(0)
