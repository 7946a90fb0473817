"""A list that only grows."""

hoard = []
while True:
    hoard.append(" " * 1000)
