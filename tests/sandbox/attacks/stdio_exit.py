"""Leave with exit code 0 and no output."""

import os

os._exit(0)
