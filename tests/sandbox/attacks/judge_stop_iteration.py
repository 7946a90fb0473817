"""Would end a loop over map() in the test without a word."""


def f(x):
    raise StopIteration
