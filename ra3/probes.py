"""Is an intention real? If the code follows it, another intention in its place must change the code."""

from __future__ import annotations

from collections.abc import Sequence

from ra3.completions import before_stop, completion_texts
from ra3.policy import Policy
from ra3.rows import Rows
from ra3.sampler import FreeRules, generate

Place = tuple[list[int], list[int], list[int]]
"""(tokens before an intention, the intention, another intention of the same document)."""


def swapped_places(rows: Rows, stray: int = 0) -> list[Place]:
    """Every intention of `rows` with the next different one of its row; `stray` tokens open each row and are left out.

    A row whose intentions are all the same gives none.
    """
    places = []
    for r in range(len(rows)):
        written = _intentions(rows, r)
        for at, (start, own) in enumerate(written):
            others = [other for _, other in written[at + 1 :] + written[:at] if other != own]
            if others:
                places.append((rows.ids[r, stray:start].tolist(), own, others[0]))
    return places


def _intentions(rows: Rows, r: int) -> list[tuple[int, list[int]]]:
    """(position of its first token, tokens) of each intention in row r."""
    found = []
    for t in rows.seg[r][rows.latent[r]].unique().tolist():
        at = ((rows.seg[r] == t) & rows.latent[r]).nonzero()[:, 0]
        found.append((int(at[0]), rows.ids[r][at].tolist()))
    return found


def code_changes(policy: Policy, rows: Rows, max_new_tokens: int = 64) -> list[bool]:
    """For each intention that can be swapped: whether the code written after it, greedily, differs from what follows
    another intention of the same document in the same place. Code counts to the end of its block."""
    places = swapped_places(rows, stray=1)  # generate puts the start token back
    own = _greedy(policy, [before + intention for before, intention, _ in places], max_new_tokens)
    swapped = _greedy(policy, [before + other for before, _, other in places], max_new_tokens)
    return [a != b for a, b in zip(own, swapped, strict=True)]


def _greedy(policy: Policy, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
    if not prompts:
        return []
    rows = generate(policy, prompts, 1, FreeRules(max_new_tokens, 0.0), [0] * len(prompts))
    return [block(text) for text in completion_texts(policy, rows, ())]


def block(text: str) -> str:
    """The first lines of `text` that are indented as deep as its first line or deeper; an own comment ends it, too.

    Example: ``block("    y = 1\\n    return y\\ndef f():\\n")`` is ``"    y = 1\\n    return y\\n"``.
    """
    lines = before_stop(text, ("\n#",)).splitlines(keepends=True)
    depth = _indentation(lines[0]) if lines else 0
    end = next((n for n, line in enumerate(lines) if line.strip() and _indentation(line) < depth), len(lines))
    return "".join(lines[:end])


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
