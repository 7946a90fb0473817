"""Close every descriptor and be gone, with the wait status of no ordinary end."""

import os

os.closerange(0, 256)
os._exit(255)
