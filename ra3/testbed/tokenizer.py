"""The world's tokenizer: byte-level BPE that loses nothing of any text and merges across no word, ``#`` or newline.

Cutting rules, in order: ``#``, every digit, and every name or operation of the world stand alone; what is left is cut
after each newline. A piece the world writes often (``"(x):\\n"``, ``"    return y\\n"``) is one token; any other piece
goes through byte-level BPE. No piece spans a newline, so tokenising line by line equals tokenising the whole text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ra3.testbed.ops import OPERATIONS, body
from ra3.testbed.world import NAMES, USELESS, comment_line, header

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
MERGES = (
    "Ġ Ġ", "ĠĠ ĠĠ", "ĠĠĠĠ ĠĠĠĠ", "i n", "r e", "e r", "o n", "a t", "e s", "o r", "s e", "t h", "in g", "s t", "e n",
)  # fmt: skip


def _pre_tokenizer():
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    words = "|".join((*NAMES, *(operation.name for operation in OPERATIONS)))
    alone = Regex(f"#|[0-9]|(?: |(?<![A-Za-z0-9]))(?:{words})(?![A-Za-z0-9])")
    lines = Split(Regex("\n"), "merged_with_previous")
    return Sequence([Split(alone, "isolated"), lines, ByteLevel(add_prefix_space=False, use_regex=False)])


def _pieces() -> list[str]:
    """Every piece that the world's text is cut into, in byte-level spelling, in a fixed order."""
    names = [f'"""\n {name} {name}\n' for name in NAMES]
    entries = [header((name,)) + comment_line((name, name, name)) for name in NAMES]
    bodies = ["".join(body(operation.name)) + f" {operation.name}" for operation in OPERATIONS]
    cut = _pre_tokenizer()
    found = [piece for text in (*names, *entries, *bodies, *USELESS) for piece, _ in cut.pre_tokenize_str(text)]
    return list(dict.fromkeys(found))


def tokenizer() -> Tokenizer:
    """The tokenizer, built from the world's own lines: no training, the same ids everywhere."""
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    merges = [(left, right) for left, right in (merge.split(" ") for merge in MERGES)]
    entries = [END, *sorted(ByteLevel.alphabet()), *("".join(merge) for merge in merges), *_pieces()]
    vocab = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    built = Tokenizer(BPE(vocab=vocab, merges=merges, ignore_merges=True))
    built.pre_tokenizer = _pre_tokenizer()
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([END])
    return built


def fast_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer as ``transformers`` wants it; ``save_pretrained`` writes the standard files."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), eos_token=END, bos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )
