"""Claim the end on the result pipe, with no output."""

import os
import struct

os.write(3, struct.pack("<Ic", 0, b"d"))
