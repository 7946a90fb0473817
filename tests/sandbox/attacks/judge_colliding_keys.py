"""A dict whose building is quadratic for whoever reads it."""


def f(x):
    return {(2**61 - 1) * n: 0 for n in range(30_000)}
