"""Write to stdout without end."""


def f(x):
    while True:
        print("7" * 10_000)
