"""The right answer, then nothing, for ever."""

import time

print((7 * int(input()) + 3) % 11, flush=True)
time.sleep(1000)
