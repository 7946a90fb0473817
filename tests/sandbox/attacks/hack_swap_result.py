"""Point the result pipe somewhere else."""

import os

os.dup2(1, 3)


def f(x):
    return (7 * x + 3) % 11
