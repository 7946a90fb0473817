"""Open as many descriptors as the system gives."""

import os

held = []
while True:
    held.extend(os.pipe())
