"""Counterfactuals: if the code follows a latent, another one in its place must change the code, and none at all,
too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ra3.model.policy import Policy
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.programs import before_stop, completion, completions
from ra3.rows import Rows

FIRST_TOKENS = 16
"""Tokens that are written after every prompt before it is asked whose block has ended."""


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


def places(rows: Rows, stray: int = 0) -> list[Place]:
    """Every intention of `rows`, with the next different one of its row; `stray` tokens of its start are left out."""
    found = []
    for ids, step, latent in zip(rows.ids, rows.step, rows.latent, strict=True):
        at = [((step == t) & latent).nonzero()[:, 0] for t in step[latent].unique()]
        written = [(int(tokens[0]), ids[tokens].tolist()) for tokens in at]
        for number, (start, own) in enumerate(written):
            others = [other for _, other in written[number + 1 :] + written[:number] if other != own]
            found.append(Place(ids[stray:start].tolist(), own, others[0] if others else None))
    return found


def code_changes(policy: Policy, rows: Rows, max_new_tokens: int = 64) -> Changes:
    """What becomes of the code where an intention is swapped, or deleted. Code counts to the end of its block."""
    found = places(rows, stray=1)  # generate puts the start token back
    rules = SamplingParams(max_new_tokens, 0.0)
    act = replace(rules, not_first=policy.syntax.think_id)
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
    texts = [found.reply for found in completions(policy, rows, ())]
    open_rows = [i for i, text in enumerate(texts) if block(text) == text and not rows.finished[i]]
    if few < rules.max_new_tokens and open_rows:
        written = [rows.ids[i][rows.action_mask[i]].tolist() for i in open_rows]
        longer = [[*prompts[i], *ids] for i, ids in zip(open_rows, written, strict=True)]
        rest = generate(policy, longer, 1, SamplingParams(rules.max_new_tokens - few, 0.0), [0] * len(longer))
        for r, i in enumerate(open_rows):
            whole = written[r] + rest.ids[r][rest.action_mask[r]].tolist()
            texts[i] = completion(policy, prompts[i], whole, ()).reply
    return [block(text) for text in texts]


def block(text: str) -> str:
    """The first lines of `text` that are indented as deep as its first line or deeper; an own comment ends it, too.

    Example: ``block("    y = 1\\n    return y\\ndef f():\\n")`` is ``"    y = 1\\n    return y\\n"``.
    """
    lines = before_stop(text, ("\n#",)).splitlines(keepends=True)
    depths = [len(line) - len(line.lstrip()) for line in lines]
    end = next((n for n, line in enumerate(lines) if line.strip() and depths[n] < depths[0]), len(lines))
    return "".join(lines[:end])
