"""Open an abstract socket."""

import socket


def escaped():
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).bind("\0ra3-attack")
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
