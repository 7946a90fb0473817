"""A null byte and line separators."""

print("1\x00 2\u2028\u2029\x1c\x85")
