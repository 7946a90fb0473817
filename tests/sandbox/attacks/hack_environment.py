"""Read answers from the environment and the command line."""

import os
import sys


def f(x):
    return dict(os.environ) or sys.argv[1:]
