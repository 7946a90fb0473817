"""Claim that the grader broke, so that the sample is left out."""

import os
import struct

os.write(3, struct.pack("<Ic", 5, b"f") + b"infra")
os._exit(0)
