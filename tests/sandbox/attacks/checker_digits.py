"""A number that is too long to be read."""

print("9" * 100_000, 1)
