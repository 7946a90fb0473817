"""A reply that is nested very deeply."""

import os
import struct


def f(x):
    body = b"[" * 200_000 + b"]" * 200_000
    os.write(5, struct.pack("<Ic", len(body), b"v"))
    while body:
        body = body[os.write(5, body) :]
