"""A list that contains itself."""


def f(x):
    loop = []
    loop.append(loop)
    return loop
