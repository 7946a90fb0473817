"""Compares with nothing, so that "not a > b" holds."""


def f(x):
    return float("nan")
