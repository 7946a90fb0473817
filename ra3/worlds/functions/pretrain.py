"""Makes the base model that ships with the package: ``python -m ra3.worlds.functions.pretrain --out DIR``."""

from __future__ import annotations

from ra3.worlds.functions.tokenizer import fast_tokenizer
from ra3.worlds.functions.world import LEVELS, document_text, glossary, page
from ra3.worlds.pretraining import Part, Reading, Recipe, command
from ra3.worlds.tokenizer import END


def document(seed: int) -> list[Part]:
    """The page that ``seed`` makes, in parts: the context carries no loss, the text does."""
    drawn = page(LEVELS["pretrain"], seed)
    return [(drawn.context, False), (document_text(drawn, LEVELS["pretrain"].useless) + END, True)]


if __name__ == "__main__":
    command(Reading(fast_tokenizer(), glossary, document), Recipe(), "Train the base model of the embedded world.")
