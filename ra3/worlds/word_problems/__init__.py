"""The world of word problems about chains of quantities, and a tiny base model that read some of them."""

from ra3.worlds.word_problems.generator import world

__all__ = ["world"]
