"""The right number in the wrong type."""


def f(x):
    return float((7 * x + 3) % 11)
