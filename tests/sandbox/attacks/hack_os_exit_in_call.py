"""Die with exit code 0 from inside the tested call."""

import os


def f(x):
    os._exit(0)
