"""Rollouts as records for rollouts.jsonl: each token with its text, its role and the credit it received."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rows import CONTEXT, DECISION, Rows

SHOWN_GROUPS, SHOWN_SAMPLES = 2, 2


def rollout_records(
    policy: Policy, rows: Rows, advantage: Tensor, reward: Tensor, items: Sequence[Any], verdicts: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The first samples of the first groups; `items` are the documents or problems that the groups answer."""
    shown: dict[int, int] = {}
    for r in range(len(rows)):
        group = int(rows.group[r])
        sample = shown.get(group, 0)
        shown[group] = sample + 1
        if group < SHOWN_GROUPS and sample < SHOWN_SAMPLES:
            yield {
                "document": _name(items[group]),
                "group": group,
                "sample": sample,
                "reward": float(reward[r]),
                "verdict": verdicts[r] if verdicts else None,
                "opener": policy.syntax.opener,
                "tokens": _tokens(policy, rows, advantage, r),
            }


def _tokens(policy: Policy, rows: Rows, advantage: Tensor, r: int) -> list[dict[str, Any]]:
    return [
        {
            "text": policy.token_text(token),
            "role": _role(rows, r, t),
            "advantage": round(float(advantage[r, t]), 4),
            "logp": round(float(rows.logp[r, t]), 4),
        }
        for t, token in enumerate(rows.tokens(r))
    ]


def _role(rows: Rows, r: int, t: int) -> str:
    if int(rows.seg[r, t]) == CONTEXT:
        return "context"
    if bool(rows.act[r, t]) and int(rows.space[r, t]) == DECISION:
        return "decision"
    if bool(rows.expert[r, t]):
        return "expert"
    return "latent" if bool((rows.expert[r] & rows.valid[r]).any()) else "sampled"


def _name(item: Any) -> str:
    return item.document.id if hasattr(item, "document") else item.id
