"""A handle whose number is a string, a list, a float, nothing."""

import os
import struct

REPLIES = iter((b'"3"', b"[1]", b"1.5", b""))


def f(x):
    body = next(REPLIES)
    os.write(5, struct.pack("<Ic", len(body), b"h") + body)
