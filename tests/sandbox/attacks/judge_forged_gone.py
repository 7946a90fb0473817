"""Says what only a judge may say."""

import os
import struct

for claim in (b"error:NoCallMade", b"error:ProgramGone", b"infra", b"passed"):
    os.write(3, struct.pack("<Ic", len(claim), b"f") + claim)
os._exit(0)
