"""Tokenizers of the embedded worlds: byte-level BPE that loses nothing of any text, with a world's own words as tokens.

Text is cut at what stands alone in a world (its names, ``#``, digits or numbers), and what is left after each newline.
A piece that the world writes often is one token; any other piece goes through byte-level BPE. No piece spans a newline,
so tokenising line by line equals tokenising the whole text. Nothing is trained: the same ids everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
MERGES = (
    "Ġ Ġ", "ĠĠ ĠĠ", "ĠĠĠĠ ĠĠĠĠ", "i n", "r e", "e r", "o n", "a t", "e s", "o r", "s e", "t h", "in g", "s t", "e n",
)  # fmt: skip


def word_tokenizer(alone: str, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Build the tokenizer as ``transformers`` wants it; ``save_pretrained`` writes the standard files.

    ``alone``: regular expression of what stands alone; ``texts``: text whose pieces become tokens, in order.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = pre_tokenizers.Split(Regex(alone), "isolated")
    lines = pre_tokenizers.Split(Regex("\n"), "merged_with_previous")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Sequence([words, lines, bytes_])
    pieces = [piece for text in texts for piece, _ in cut.pre_tokenize_str(text)]
    merges = [(left, right) for left, right in (merge.split(" ") for merge in MERGES)]
    entries = [END, *sorted(bytes_.alphabet()), *("".join(merge) for merge in merges), *pieces]
    vocab = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    built = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    built.pre_tokenizer = cut
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([END])
    return PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token=END, bos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )
