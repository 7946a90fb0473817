"""The embedded worlds: each makes expert text that knows its intentions, problems with tests, and ships a base model.

A world goes by its name wherever a model, a corpus or problems are named: ``--corpus word-problems``.
"""

from ra3.worlds.functions import world as functions
from ra3.worlds.word_problems import world as word_problems

WORLDS = {"functions": functions, "word-problems": word_problems}
