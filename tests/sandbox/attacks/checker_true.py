"""The word that a checker returns."""

print(True)
