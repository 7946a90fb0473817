"""Compares with nothing."""

print("nan", "inf")
