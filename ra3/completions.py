"""Problems as prompts in token ids, and generated rows as completions in text."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ra3.policy import Policy
from ra3.problems import Problem
from ra3.rows import Rows


def encode_prompts(policy: Policy, problems: Sequence[Problem]) -> list[list[int]]:
    """Each prompt tokenised line by line, as documents are; an empty one has no tokens."""
    lines = [problem.prompt.splitlines(keepends=True) for problem in problems]
    flat = [line for own in lines for line in own]
    pieces = iter(policy.tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
    return [[token for _ in own for token in next(pieces)] for own in lines]


def beyond_positions(policy: Policy, problems: Sequence[Problem], new_tokens: int) -> dict[str, str]:
    """{problem: why} of those whose prompt and a completion of `new_tokens` are longer than the model reads."""
    room = (policy.positions or sys.maxsize) - new_tokens
    lengths = [1 + len(ids) for ids in encode_prompts(policy, problems)]
    return {
        problem.id: f"its prompt of {length} tokens and {new_tokens} more are over {policy.positions} positions"
        for problem, length in zip(problems, lengths, strict=True)
        if length > room
    }


def completion_texts(policy: Policy, rows: Rows, stop: Sequence[str]) -> list[str]:
    """What each row generated, up to the end of text or the first stop string."""
    return [completion_text(policy, rows.ids[r][rows.act[r]].tolist(), stop) for r in range(len(rows))]


def completion_text(policy: Policy, ids: Sequence[int], stop: Sequence[str]) -> str:
    """Generated ids as text, up to the end of text or the first stop string."""
    return before_stop(policy.tokenizer.decode([i for i in ids if i != policy.end_id]), stop)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop strings; a stop string that begins with a newline leaves that newline."""
    ends = [text.index(s) + s.startswith("\n") for s in stop if s in text]
    return text[: min(ends)] if ends else text
