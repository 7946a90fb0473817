"""Latents written as comments: an intention is the line ``#`` + text + newline before the step that it opens.

In text, ``annotate_text`` writes comment lines between steps and ``remove`` takes them out again, to the character. In
ids, ``LatentSyntax`` names the tokens that open (``#`` or another), fill and close a latent. ``encode`` tokenises each
step alone, so that latents and steps are joined as ids and nothing is encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from ra3.data.documents import BadRow, Document
from ra3.data.steps import Step, split
from ra3.errors import UserError

COMMENT_OPENER = "#"

Span = tuple[int, int]
"""Start and end of an inserted latent, in characters of the annotated text."""


def annotate_text(steps: Sequence[Step], comments: Sequence[str | None]) -> tuple[str, list[Span]]:
    """The text with ``comments[t]`` (a whole line, ``"# ...\\n"``) before step t, None for act; and where they stand.

    Raises ValueError for a comment that is no single ``#`` line, or before a step that may not have one.
    """
    pieces: list[str] = []
    spans: list[Span] = []
    length = 0
    for step, comment in zip(steps, comments, strict=True):
        if comment is not None:
            _check_comment(step, comment)
            spans.append((length, length + len(comment)))
        pieces += [comment or "", step.text]
        length += len(pieces[-2]) + len(pieces[-1])
    return "".join(pieces), spans


def remove(text: str, spans: Sequence[Span]) -> str:
    """The text without its latents: the exact inverse of ``annotate_text``."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _check_comment(step: Step, comment: str) -> None:
    if not step.may_think:
        raise ValueError(f"no comment may stand before this step: {step.text[:60]!r}")
    body = comment[:-1]
    if not (comment.startswith("#") and comment.endswith("\n")) or any(end in body for end in "\r\n\0"):
        raise ValueError(f"a latent is one comment line that begins with '#' and ends with a newline, not {comment!r}")


@dataclass(frozen=True)
class LatentSyntax:
    """How a latent is written in one tokenizer's ids: ``think_id``, some of ``comment_ids``, ``newline_id``."""

    opener: str
    """Text of the token that opens a latent: "#", or the name of a special token."""
    think_id: int
    """Its id: the next token is this one (think) or any other (act)."""
    newline_id: int
    """Id of the token that is one newline and closes a comment."""
    comment_ids: tuple[int, ...]
    """Ids that may stand inside a comment, ascending: printable text, and ``newline_id``."""

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, opener: str = COMMENT_OPENER) -> LatentSyntax:
        """Reads the syntax off a Hugging Face tokenizer; any other opener than "#" is one of its special tokens.

        Raises UserError where the opener or a newline is not one token of its own.
        """
        comment = opener == COMMENT_OPENER
        think_id = single_id(tokenizer, opener) if comment else tokenizer.convert_tokens_to_ids(opener)
        newline_id = single_id(tokenizer, "\n")
        return cls(opener, think_id, newline_id, tuple(sorted({*_printable_ids(tokenizer), newline_id})))

    def expert_may_follow(self, step_ids: Sequence[int]) -> bool:
        """A step may have a latent before it: its own first token is not the one that opens a latent."""
        return len(step_ids) > 0 and step_ids[0] != self.think_id

    def comment(self, tokenizer: Any, latent_ids: Sequence[int]) -> str:
        """The ids of a latent as the comment that it is in text."""
        return COMMENT_OPENER + decode(tokenizer, latent_ids[1:])

    def latent_ids(self, tokenizer: Any, comments: Sequence[str]) -> list[list[int]]:
        """The inverse: the ids of each comment line as a latent."""
        return [[self.think_id, *ids] for ids in _ids(tokenizer, [comment[1:] for comment in comments])]


def single_id(tokenizer: Any, text: str) -> int:
    """The id of the token whose text this is. UserError where the tokenizer has none."""
    (ids,) = _ids(tokenizer, [text])
    back = decode(tokenizer, ids)
    if len(ids) == 1 and back == text:
        return ids[0]
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]
    raise UserError(
        f"this tokenizer writes {text!r} as {len(ids)} tokens {tokens} that read back as {back!r}",
        where=str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__),
        allowed=f"{text!r} as one token of its own, as in byte-level BPE (GPT-2, Llama 3, Qwen)",
        fix="use another model: intentions are comment lines, which this tokenizer cannot open or close",
    )


def _printable_ids(tokenizer: Any) -> list[int]:
    """Ids of ordinary tokens whose text alone is printable; parts of a character decode to U+FFFD and are left out."""
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
    ids = sorted({*tokenizer.get_vocab().values()} - special)
    texts = ((i, decode(tokenizer, [i])) for i in ids)
    return [i for i, text in texts if text and text.isprintable() and "\ufffd" not in text]


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Each text tokenised alone. A special token's name inside a text is text, never the special token."""
    if not texts:
        return []
    return tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, padding=False, truncation=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    )["input_ids"]  # fmt: skip


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The exact text of ids: special tokens are kept, and no space is tidied away."""
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _loss(tokenizer: Any, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> str | None:
    """What the tokenizer loses of the joined texts, or None."""
    joined = [i for piece in ids for i in piece]
    if decode(tokenizer, joined) == "".join(texts):
        return None
    backs = [decode(tokenizer, piece) for piece in ids]
    text, back = next(((a, b) for a, b in zip(texts, backs, strict=True) if a != b), ("the joined steps", "other text"))
    return f"the tokenizer is lossy for this text: {ascii(text[:60])} reads back as {ascii(back[:60])}"


@dataclass(frozen=True)
class EncodedDocument:
    """A document as ids: ``EncodedDocument(document, (5, 9), ((7, 2), (8, 2)), (False, True))``."""

    document: Document
    """Its text is the steps joined: where the document was cut, the part that was kept."""
    context_ids: tuple[int, ...]
    """Ids of the context, tokenised alone."""
    step_ids: tuple[tuple[int, ...], ...]
    """Ids of each step, tokenised alone; never empty."""
    may_think: tuple[bool, ...]
    """Where a latent may be written, one per step."""
    cut: bool = False
    """Steps were left off at the end, because the document was too long."""

    @property
    def id(self) -> str:
        """The document's name."""
        return self.document.id

    def thinking_only_at(self, place: int) -> EncodedDocument:
        """Return the document with ``place`` as the only boundary at which a latent may be written."""
        return replace(self, may_think=tuple(may and t == place for t, may in enumerate(self.may_think)))


def encode(
    tokenizer: Any, document: Document, syntax: LatentSyntax, kind: str = "line", max_tokens: int = 1024
) -> EncodedDocument | BadRow:
    """The document's ids, cut after the last step with which context and steps stay within ``max_tokens``.

    A BadRow says why a document has none: nothing fits, or the tokenizer loses part of it.
    """
    steps = split(document, kind)
    context_ids, *step_ids = _ids(tokenizer, [document.context, *(step.text for step in steps)])
    lengths = accumulate((len(ids) for ids in step_ids), initial=len(context_ids))
    kept = sum(length <= max_tokens for length in lengths) - 1
    if kept < 1:
        return BadRow(document.id, _too_long(len(context_ids), step_ids, max_tokens))
    steps, step_ids, cut = steps[:kept], step_ids[:kept], kept < len(steps)
    texts = [step.text for step in steps]
    if problem := _loss(tokenizer, [document.context, *texts], [context_ids, *step_ids]):
        return BadRow(document.id, problem)
    if cut:
        truth = document.truth.before(kept) if document.truth else None
        document = replace(document, text="".join(texts), truth=truth)
    may_think = [step.may_think and syntax.expert_may_follow(ids) for step, ids in zip(steps, step_ids, strict=True)]
    return EncodedDocument(document, tuple(context_ids), tuple(map(tuple, step_ids)), tuple(may_think), cut)


def encode_all(
    tokenizer: Any, documents: Iterable[Document], syntax: LatentSyntax, kind: str = "line", max_tokens: int = 1024
) -> tuple[list[EncodedDocument], list[BadRow]]:
    """Every document that can be encoded, in order, and why the others cannot."""
    results = [encode(tokenizer, document, syntax, kind, max_tokens) for document in documents]
    good = [result for result in results if isinstance(result, EncodedDocument)]
    return good, [result for result in results if isinstance(result, BadRow)]


def _too_long(context_tokens: int, step_ids: Sequence[Sequence[int]], max_tokens: int) -> str:
    if not step_ids:
        return "it has no steps"
    if context_tokens >= max_tokens:
        return f"its context alone takes {context_tokens} tokens (at most {max_tokens} with the text)"
    first = f"its first step takes {len(step_ids[0])} tokens"
    return f"{first}, with a context of {context_tokens} (at most {max_tokens} together)"
