"""The first thing in the server's interpreter: what programs will find, before any of the server's own modules."""

import json
import os
import sys
import time

from . import preload


def main():
    """Started as ``python -c "..." FOLDER CONTROL_FD CONFIG_JSON``; FOLDER holds this package, first on the path."""
    control_fd, config = int(sys.argv[2]), json.loads(sys.argv[3])
    time.tzset()
    os.environ.clear()
    sys.argv[:] = ["solution.py"]
    preload.import_modules()
    from . import server  # after the preload, or the modules it needs would register their after-fork hooks

    del sys.path[0]
    server.main(control_fd, config)
