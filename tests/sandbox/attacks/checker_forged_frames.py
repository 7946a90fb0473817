"""A checker's result, on the program's pipe."""

import os
import struct

for body, tag in ((b"true", b"v"), (b"", b"d")):
    os.write(3, struct.pack("<Ic", len(body), tag) + body)
