"""Open other kinds of sockets."""

import socket


def escaped():
    for family in (16, 17, 38, 40):
        try:
            socket.socket(family, socket.SOCK_RAW).close()
            return True
        except OSError:
            continue
    return False


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
