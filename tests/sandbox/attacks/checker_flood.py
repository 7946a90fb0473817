"""As much as may be written."""

print("1 " * 500_000)
