"""Stop oneself and wait to be continued."""

import os
import signal

try:
    os.kill(os.getpid(), signal.SIGSTOP)
except OSError:
    signal.raise_signal(signal.SIGSTOP)
