"""Print the input."""

print(input())
