"""Leave a file in the working folder."""


def escaped():
    open("sitecustomize.py", "w").close()
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
