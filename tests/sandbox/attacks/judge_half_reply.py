"""Half a reply, then nothing more."""

import os
import struct


def f(x):
    os.write(5, struct.pack("<Ic", 10, b"v") + b"[1,")
    os._exit(0)
