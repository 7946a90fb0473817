"""A set of ints that all have the same hash: slow for whoever hashes them again."""

P = 2**61 - 1


def f(x):
    return {(number * P, x): number for number in range(20_000)} if x > 99 else [number * P for number in range(40_000)]
