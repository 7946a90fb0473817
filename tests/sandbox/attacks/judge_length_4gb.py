"""A reply that says it is 4 GB long."""

import os
import struct


def f(x):
    os.write(5, struct.pack("<Ic", 0xFFFFFFFF, b"v"))
    return 1
