"""As much memory as there is."""


def f(x):
    return len([bytearray(64 << 20) for _ in range(200)])
