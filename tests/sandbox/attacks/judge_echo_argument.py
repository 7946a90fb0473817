"""The argument itself."""


def f(x):
    return x
