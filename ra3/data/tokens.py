"""Text as token ids and back, one way for documents, contexts, prompts and comments: as the tokenizer itself does it.

Text is tokenised as a whole, without truncation; the name of a special token in it is that token, as in
``tokenizer(text)``. What a tokenizer puts in front of a text (``start_ids``) opens every sequence, nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

WHITE = " \t\f\r\n"
"""White space of programs; any other character is visible."""


class TokenizedText(NamedTuple):
    """N ids, and where in the text they stand."""

    ids: list[int]
    starts: list[int]
    """First character of each token; a tokenizer may leave out white space at its front."""
    ends: list[int]
    """One past its last character, with the same reserve; never descending."""


def token_ids(tokenizer: Any, texts: Sequence[str], **more: Any) -> list[list[int]]:
    """Return the ids of each text, without what the tokenizer puts around it; ``more`` is what the tokenizer takes."""
    return _tokenized(tokenizer, texts, **more)["input_ids"] if texts else []


def tokenize_text(tokenizer: Any, text: str) -> TokenizedText:
    """Return the ids of one text with their places, which a fast tokenizer knows."""
    found = _tokenized(tokenizer, [text], return_offsets_mapping=True)
    starts, ends = ([place[side] for place in found["offset_mapping"][0]] for side in (0, 1))
    return TokenizedText(found["input_ids"][0], starts, ends)


def _tokenized(tokenizer: Any, texts: Sequence[str], **more: Any) -> Any:
    return tokenizer(
        list(texts), add_special_tokens=False, padding=False, truncation=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False, **more,
    )  # fmt: skip


def start_ids(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that the tokenizer puts in front of a text: one, or none."""
    (plain,), whole = token_ids(tokenizer, ["a"]), tokenizer("a", verbose=False)["input_ids"]
    places = range(len(whole) - len(plain) + 1)
    return tuple(whole[: next((n for n in places if whole[n : n + len(plain)] == plain), 0)])


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the exact text of ids: special tokens are kept, and no space is tidied away."""
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return the text of each token where it stands behind others; parts of a character become U+FFFD."""
    anchor = token_ids(tokenizer, ["a"])[0]
    behind = [anchor, *([*anchor, i] for i in ids)]
    front, *texts = tokenizer.backend_tokenizer.decode_batch(behind, skip_special_tokens=False)
    return [text[len(front) :] for text in texts]


def continuation_ids(tokenizer: Any, before: str, text: str) -> list[int] | None:
    """Return the ids that ``text`` has behind ``before``; None where it changes how ``before`` is tokenised."""
    front, whole = token_ids(tokenizer, [before, before + text])
    return whole[len(front) :] if whole[: len(front)] == front else None
