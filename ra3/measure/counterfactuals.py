"""Counterfactuals: if the code follows a latent, another one in its place must change the code, and none at all,
too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ra3.model.policy import Policy
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.programs import completion, completions, line_so_far
from ra3.rows import Rows

FIRST_TOKENS = 16
"""Tokens that are written after every prompt before it is asked whose block has ended."""
READ_TOKENS = 32_000
"""Tokens before the latents that are tried, each of which has all the text so far before it: of long documents a few
are."""


@dataclass(frozen=True)
class Place:
    """An intention where it stands."""

    before: list[int]  # tokens before it
    own: list[int]
    other: list[int] | None  # another intention of the same document; None: all are the same


class Changes(NamedTuple):
    """For each intention, whether the code after it, written greedily, is other code where it is ..."""

    swapped: list[bool]  # ... another one of the document, if there is another
    deleted: list[bool]  # ... none, and the policy must act


def places(policy: Policy, rows: Rows) -> list[Place]:
    """Every intention of `rows`, with the words of the next different one of its row in its place; what generation puts
    in front of every prompt is left out."""
    found, front = [], len(policy.start_ids)
    for ids, step, latent in zip(rows.ids, rows.step, rows.latent, strict=True):
        at = [((step == t) & latent).nonzero()[:, 0] for t in step[latent].unique()]
        written = [(int(tokens[0]), *_parted(policy, ids[tokens].tolist())) for tokens in at]
        for number, (start, think, words, close) in enumerate(written):
            others = [other for _, _, other, _ in written[number + 1 :] + written[:number] if other != words]
            other = [*think, *others[0], *close] if others else None
            found.append(Place(ids[front:start].tolist(), [*think, *words, *close], other))
    return found


def some_of(found: Sequence[Place]) -> list[Place]:
    """As many places, evenly spread, as have READ_TOKENS tokens before them; all, if they have no more."""
    tokens = sum(len(place.before) for place in found)
    share = min(1.0, READ_TOKENS / max(tokens, 1))
    return [place for n, place in enumerate(found) if int((n + 1) * share) > int(n * share)]


def _parted(policy: Policy, latent: list[int]) -> tuple[list[int], list[int], list[int]]:
    """The ids of a latent as the one that opens it, its words, and what closes it."""
    end = next(n for n, token in enumerate(latent) if "\n" in policy.token_text(token))
    return latent[:1], latent[1:end], latent[end:]


def code_changes(policy: Policy, rows: Rows, max_new_tokens: int = 64) -> Changes:
    """What becomes of the code where an intention is swapped, or deleted. Code counts to the end of its block."""
    found = some_of(places(policy, rows))
    rules = SamplingParams(max_new_tokens, 0.0)
    act = replace(rules, not_first=policy.syntax.think_ids)
    own = _code(policy, [p.before + p.own for p in found], rules)
    swapped = iter(_code(policy, [p.before + p.other for p in found if p.other], rules))
    deleted = _code(policy, [p.before for p in found], act)
    return Changes(
        [code != next(swapped) for code, p in zip(own, found, strict=True) if p.other],
        [code != without for code, without in zip(own, deleted, strict=True)],
    )


def _code(policy: Policy, prompts: Sequence[Sequence[int]], rules: SamplingParams) -> list[str]:
    """The block that is written after each prompt. It is decided with the first token beyond it, which is mostly among
    the first few: only those rows are written on whose block is still open."""
    if not prompts:
        return []
    few = min(FIRST_TOKENS, rules.max_new_tokens)
    rows = generate(policy, prompts, 1, replace(rules, max_new_tokens=few), [0] * len(prompts))
    lines = [line_so_far(policy, prompt) for prompt in prompts]
    fronts = ["" if line.strip() else line for line in lines]  # the indentation of what is written next
    texts = [front + found.reply for front, found in zip(fronts, completions(policy, rows, ()), strict=True)]
    open_rows = [i for i, text in enumerate(texts) if block(text) == text and not rows.finished[i]]
    if few < rules.max_new_tokens and open_rows:
        written = [rows.ids[i][rows.action_mask[i]].tolist() for i in open_rows]
        longer = [[*prompts[i], *ids] for i, ids in zip(open_rows, written, strict=True)]
        rest = generate(policy, longer, 1, SamplingParams(rules.max_new_tokens - few, 0.0), [0] * len(longer))
        for r, i in enumerate(open_rows):
            whole = written[r] + rest.ids[r][rest.action_mask[r]].tolist()
            texts[i] = fronts[i] + completion(policy, prompts[i], whole, ()).reply
    return [block(text) for text in texts]


def block(text: str) -> str:
    """The first lines of `text` that are indented as deep as its first line or deeper; an own comment ends it, too.

    Example: ``block("    y = 1\\n    return y\\ndef f():\\n")`` is ``"    y = 1\\n    return y\\n"``.
    """
    lines = re.split(r"(?<=\n)(?=[ \t]*#)", text, maxsplit=1)[0].splitlines(keepends=True)
    depths = [len(line) - len(line.lstrip()) for line in lines]
    end = next((n for n, line in enumerate(lines) if line.strip() and depths[n] < depths[0]), len(lines))
    return "".join(lines[:end])
