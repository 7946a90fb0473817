"""Return a wrong answer and leave threads computing."""

import threading


def spin():
    while True:
        pass


def f(x):
    threading.Thread(target=spin).start()
    return 0
