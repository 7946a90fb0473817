"""What the judge itself would say."""


def f(x):
    return True
