"""A few kilobytes that unpack to ten gigabytes."""

import zlib

squeezed = zlib.compress(bytes(10**7))


def f(x):
    return len(b"".join(zlib.decompress(squeezed) for _ in range(1000)))
