"""One C call that does not come back to the interpreter."""


def f(x):
    return 10**10**8 % 11
