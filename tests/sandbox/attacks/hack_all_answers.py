"""Every possible answer at once."""


def f(x):
    return set(range(11)) if x % 2 else list(range(11))
