"""Seeds for every random choice: derived by name, so that no global generator and no generator state exists."""

import hashlib


def derive(seed: int, *parts: object) -> int:
    """A 63-bit seed for one purpose: blake2b of the repr of ``(seed, *parts)``.

    Equal arguments give equal seeds on every machine; parts are strings and integers, e.g.
    ``derive(0, "estep", 3, document.id)``.
    """
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
