"""No text."""

import sys

sys.stdout.buffer.write(b"\xff\xfe 3\n")
