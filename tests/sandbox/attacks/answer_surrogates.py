"""Text that is no text."""


def f(x):
    return "\ud800" * 10
