"""Open a TCP socket."""

import socket


def escaped():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", 0))
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
