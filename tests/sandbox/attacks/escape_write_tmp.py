"""Leave a file behind."""


def escaped():
    open("/tmp/ra3-attack-canary", "w").close()
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
