"""Numbers whose reading would take very long."""


def f(x):
    return [10**200_000, -(10**100_000)]
