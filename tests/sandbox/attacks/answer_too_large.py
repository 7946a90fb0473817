"""Twenty megabytes of answer."""


def f(x):
    return "7" * 20_000_000
