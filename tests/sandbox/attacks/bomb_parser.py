"""Nest brackets until the compiler gives up."""

code = compile("(" * 90 + "1" + ")" * 90, "x", "eval")
for size in (10**3, 10**5, 10**6):
    try:
        compile("[" * size + "]" * size, "x", "eval")
    except (SyntaxError, MemoryError, RecursionError):
        continue
compile("-" * 3_000_000 + "1", "x", "eval")
