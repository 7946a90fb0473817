"""Quadratic time from ints of equal hash."""


def f(x):
    return len({number * (2**61 - 1) for number in range(5_000)})
