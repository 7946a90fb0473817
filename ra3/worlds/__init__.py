"""The embedded worlds: each makes expert text that knows its intentions, problems with tests, and ships a base model.

A world goes by its name wherever a model, a corpus or problems are named: ``--corpus word-problems``.
"""

from ra3.worlds import functions, look_ups, word_problems

WORLDS = {world.name: world for world in (functions.world, word_problems.world, look_ups.world)}
