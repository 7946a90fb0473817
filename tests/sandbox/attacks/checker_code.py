"""Code, should anybody evaluate it."""

print("__import__('os')._exit(0) or 1 __import__('sys').exit()")
