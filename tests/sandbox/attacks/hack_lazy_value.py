"""A generator and a function are not values."""


def f(x):
    return (value for value in range(11)) if x % 2 else f
