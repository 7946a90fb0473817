"""Poison the standard library or its cache."""

import os


def escaped():
    open(os.path.join(os.path.dirname(os.__file__), "ra3_attack_canary.py"), "w").close()
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
