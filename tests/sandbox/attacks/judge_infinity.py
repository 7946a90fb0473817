"""Within every relative tolerance of itself."""


def f(x):
    return float("inf")
