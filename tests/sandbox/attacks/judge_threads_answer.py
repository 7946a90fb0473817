"""Threads that answer at random while a question is open."""

import os
import random
import struct
import threading


def chatter():
    while True:
        body = str(random.randrange(11)).encode()
        os.write(5, struct.pack("<Ic", len(body), b"v") + body + b"\0")


def f(x):
    for _ in range(4):
        threading.Thread(target=chatter, daemon=True).start()
    return "x"
