"""Print without end, right answer first."""

print((7 * int(input()) + 3) % 11)
while True:
    print("7" * 10_000)
