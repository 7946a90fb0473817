"""A tag that does not exist, and one without content."""

import os
import struct


def f(x):
    frame = struct.pack("<Ic", 11, b"v") + b'{"t":"zzzz"}'
    while frame:
        frame = frame[os.write(3, frame) :]
    os._exit(0)
