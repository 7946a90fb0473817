"""Handles to objects that are not there, and types where values belong."""

import os
import struct

REPLIES = iter((b'{"t":"h","v":7}', b'{"t":"y","v":"int"}', b'{"t":"obj"}', b'{"t":"x","v":1}'))


def f(x):
    body = next(REPLIES)
    os.write(5, struct.pack("<Ic", len(body), b"v") + body)
