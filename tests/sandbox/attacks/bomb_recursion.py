"""Recurse beyond the stack, through C."""

import sys

sys.setrecursionlimit(10**9)


def f(x):
    return sorted([x, x], key=f)
