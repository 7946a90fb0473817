"""The world's tokenizer: ``#``, every digit, and every name or operation of the world stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ra3.worlds.functions.ops import OPERATIONS, body
from ra3.worlds.functions.world import NAMES, USELESS, comment_line, header
from ra3.worlds.tokenizer import word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def fast_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, built from the world's own lines."""
    words = "|".join((*NAMES, *(operation.name for operation in OPERATIONS)))
    names = [f'"""\n {name} {name}\n' for name in NAMES]
    entries = [header((name,)) + comment_line((name, name, name)) for name in NAMES]
    bodies = ["".join(body(operation.name)) + f" {operation.name}" for operation in OPERATIONS]
    alone = f"#|[0-9]|(?: |(?<![A-Za-z0-9]))(?:{words})(?![A-Za-z0-9])"
    return word_tokenizer(alone, (*names, *entries, *bodies, *USELESS))
