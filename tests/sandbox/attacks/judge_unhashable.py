"""A set and a dict of lists."""

import os
import struct

BODIES = iter((b'{"t":"S","v":[[1]]}', b'{"t":"D","v":[[[1],2]]}', b'{"t":"D","v":7}', b'{"t":[],"v":1}'))


def f(x):
    body = next(BODIES)
    os.write(5, struct.pack("<Ic", len(body), b"v") + body)
