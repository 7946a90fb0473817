"""Makes the base model of the world of word problems: ``python -m ra3.worlds.word_problems.pretrain --out DIR``."""

from __future__ import annotations

from ra3.worlds.pretraining import Part, Reading, Recipe, command
from ra3.worlds.tokenizer import END
from ra3.worlds.word_problems.tokenizer import fast_tokenizer
from ra3.worlds.word_problems.world import LEVELS, document_text, drill, page


def document(seed: int) -> list[Part]:
    """The page that ``seed`` makes, in parts: the context carries no loss, the text does."""
    drawn = page(LEVELS["pretrain"], seed)
    return [(drawn.context, False), (document_text(drawn, LEVELS["pretrain"].useless) + END, True)]


if __name__ == "__main__":
    recipe = Recipe(batch=12, learned=0.05, chains=300, updates=1800)
    command(Reading(fast_tokenizer(), drill, document), recipe, "Train the base model of the world of word problems.")
