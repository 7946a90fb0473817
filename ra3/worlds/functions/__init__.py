"""The world of Python functions named through chains of references, and a tiny base model that read some of it."""

from ra3.worlds.functions.generator import world

__all__ = ["world"]
