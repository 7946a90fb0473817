"""A running ``ra3 sandbox-server``, for tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SECRET = b"a secret of the tests, long enough"


def key_in(folder: Path) -> Path:
    """A key file that only its owner reads."""
    path = folder / "key"
    path.touch(0o600)
    path.write_bytes(SECRET + b"\n")
    return path


@contextmanager
def server(key_file: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen, str]]:
    """(process, address) of a server with one worker."""
    command = [sys.executable, "-m", "ra3", "sandbox-server", "--key-file", str(key_file), "--workers", "1"]
    command += ["--listen", f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        assert line.startswith("listening on 127.0.0.1:"), line
        yield process, line.split()[2].strip(",")
    finally:
        process.kill()
        process.communicate()
