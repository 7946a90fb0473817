"""A dict with a list as key."""

import os
import struct


def f(x):
    frame = struct.pack("<Ic", 29, b"v") + b'{"t":"D","v":[[[1,2],3],[4]]}'
    while frame:
        frame = frame[os.write(3, frame) :]
    os._exit(0)
