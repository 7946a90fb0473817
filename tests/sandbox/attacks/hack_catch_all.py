"""Swallow everything, loop for ever."""


def f(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
