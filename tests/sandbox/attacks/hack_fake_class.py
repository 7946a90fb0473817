"""Claim to be an int through __class__."""


class Fake:
    @property
    def __class__(self):
        return int

    def __eq__(self, other):
        return True


def f(x):
    return Fake()
