"""The right answer, then an error: the run failed."""

print((7 * int(input()) + 3) % 11)
raise SystemExit(1)
