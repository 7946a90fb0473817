"""Rows: the one data structure of the engine, a batch of token sequences and what the policy chose in them.

Shape legend: _B rows, _T tokens (padded), _S steps, _D documents, _G rollouts of one group, _V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

FULL, COMMENT, WORD, DECISION = 0, 1, 2, 3
"""Action spaces, from which a token was chosen: the full vocabulary; what may stand inside a comment or end it; its
first word, which does not end it; think or act in front of a step (the token is "#" for think, the first of the forced
step for act). DECISION + k where the k-th of a tokenizer's think tokens is the one that opens a comment."""
CONTEXT = -1
"""`step` of tokens that belong to no step: the prompt, and padding."""


@dataclass(frozen=True)
class Rows:
    """B token sequences, right-padded to T.

    Example, the line `x = 1` written under the intention `# one` after the prompt `def f():`; "." is a space::

        ids           <s> def f (): \\n...   .#  one \\n...   .x  =  1
        step           -1  -1 -1  -1    -1    0    0     0    0  0  0
        action_mask     0   0  0   0     0    1    1     1    0  0  0
        action_space    0   0  0   0     0    3    2     1    0  0  0
        expert          0   0  0   0     0    0    0     0    1  1  1
    """

    ids: Tensor
    """[B,T] int64, token ids; the truth, text is a view."""
    length: Tensor
    """[B] int64, valid tokens of each row."""
    action_mask: Tensor
    """[B,T] bool, tokens at which the policy chose something and from which it may learn."""
    action_space: Tensor
    """[B,T] int8, what each of these was drawn from (FULL, COMMENT, WORD or DECISION + k)."""
    expert: Tensor
    """[B,T] bool, tokens of forced expert steps."""
    step: Tensor
    """[B,T] int64, index of the step (or turn) that a token belongs to, CONTEXT outside."""
    logp: Tensor
    """[B,T] float32, log-probability under the full vocabulary as the sampler saw it; 0 where unscored."""
    logp_old: Tensor
    """[B,T] float32, log-probability of the choice in its action space, while sampling; 0 where nothing was chosen."""
    importance: Tensor
    """[B,T] float32, policy over behaviour probability of the choice: 1 unless exploration forced other odds
    or another engine drew."""
    group: Tensor
    """[B] int64, rows of one group answer the same document or problem."""
    finished: Tensor
    """[B] bool, the row ended by itself: no comment and no completion was cut at its token limit."""

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def valid(self) -> Tensor:
        """[B,T] bool, tokens that are not padding."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.length[:, None]

    @property
    def latent(self) -> Tensor:
        """[B,T] bool, tokens of written intentions: inside a step, not forced by the expert."""
        return (self.step != CONTEXT) & ~self.expert & self.valid

    @property
    def decisions(self) -> Tensor:
        """[B,T] bool, tokens that stand for a choice between think and act."""
        return self.action_mask & (self.action_space >= DECISION)

    @property
    def words(self) -> Tensor:
        """[B,T] bool, tokens that were chosen inside a comment, its end among them."""
        return self.action_mask & ((self.action_space == COMMENT) | (self.action_space == WORD))

    @property
    def observed(self) -> Tensor:
        """[B,T] bool, context behind the first token that was chosen: what an environment gave between turns."""
        return (self.step == CONTEXT) & (self.action_mask.int().cumsum(1) > 0) & self.valid

    @property
    def num_steps(self) -> int:
        """Steps of the longest row."""
        return int(self.step.max()) + 1 if self.step.numel() else 0

    def select(self, index: Tensor | slice | list[int]) -> Self:
        """The rows at `index` (a slice, a bool mask [B] or int64 indices)."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> Self:
        """The same rows on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def tokens(self, row: int) -> list[int]:
        """The valid token ids of one row."""
        return self.ids[row, : int(self.length[row])].tolist()

    def last_turn(self, row: int) -> list[int]:
        """The ids that were chosen in a row's last step, which is a turn."""
        return self.ids[row, self.action_mask[row] & (self.step[row] == self.step[row].max())].tolist()


_PADDING = {"step": CONTEXT, "importance": 1.0}
"""What stands behind the valid tokens; 0 in all other fields."""


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows of several batches as one batch; group numbers are taken as they are."""
    width = max(part.ids.shape[1] for part in parts)

    def join(name: str) -> Tensor:
        found = [getattr(part, name) for part in parts]
        if found[0].dim() == 2:
            found = [pad(x, (0, width - x.shape[1]), value=_PADDING.get(name, 0)) for x in found]
        return torch.cat(found)

    return Rows(**{f.name: join(f.name) for f in fields(Rows)})


def shortened(rows: Rows, length: Tensor) -> Rows:
    """The first `length` [B] tokens of each row."""
    kept, names = torch.arange(rows.ids.shape[1]) < length[:, None], [*_TOKEN_LISTS, *_CHOICES]
    fields = {name: getattr(rows, name).masked_fill(~kept, _PADDING.get(name, 0)) for name in names}
    return replace(rows, length=length, **fields)


def with_others(rows: Rows, places: Sequence[int], others: Rows) -> Rows:
    """The rows, with others at these places."""
    at = {r: len(rows) + n for n, r in enumerate(places)}
    return concatenate([rows, others]).select([at.get(r, r) for r in range(len(rows))])


def grafted(parents: Rows, children: Rows) -> Rows:
    """The children as rows of the policy from their first token on: what each begins with has the parent's scores, and
    what stands between the two is context."""
    width = children.ids.shape[1]
    inherited = children.action_mask.int().cumsum(1) == 0

    def join(name: str) -> Tensor:
        old, new = (getattr(rows, name) for rows in (parents, children))
        return torch.where(inherited, pad(old, (0, width - old.shape[1]), value=_PADDING.get(name, 0)), new)

    names = "action_mask", "action_space", "step", "logp", "logp_old", "importance"
    return replace(children, **{name: join(name) for name in names})


@dataclass
class RowBuilder:
    """One row while it grows, token by token."""

    group: int
    ids: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    expert: list[bool] = field(default_factory=list)
    chosen: list[tuple[int, int, float, float]] = field(default_factory=list)
    """(position, action space, logp_old, importance) of every token at which the policy chose."""
    finished: bool = True

    @classmethod
    def start(cls, group: int, prefix_ids: Sequence[int]) -> Self:
        """Begins a row with its prompt."""
        size = len(prefix_ids)
        return cls(group, list(prefix_ids), [CONTEXT] * size, [0.0] * size, [False] * size)

    def append(self, token: int, step: int, space: int, logp: float, logp_old: float, importance: float = 1.0) -> None:
        """Adds a token that the policy sampled."""
        self.chosen.append((len(self.ids), space, logp_old, importance))
        self.force((token,), step, (logp,), expert=False)

    def force(self, ids: Sequence[int], step: int, logps: Sequence[float], expert: bool = True) -> None:
        """Adds tokens that were given, not chosen."""
        self.ids += ids
        self.step += [step] * len(ids)
        self.logp += logps
        self.expert += [expert] * len(ids)

    def mark_decision(self, position: int, think: int, logp_old: float, importance: float = 1.0) -> None:
        """Records that the forced token at `position` stands for `act`, where think token number `think` did not."""
        self.chosen.append((position, DECISION + think, logp_old, importance))


_TOKEN_LISTS = {"ids": torch.int64, "step": torch.int64, "logp": torch.float32, "expert": torch.bool}
_CHOICES = {
    "action_space": torch.int8, "logp_old": torch.float32, "importance": torch.float32, "action_mask": torch.bool,
}  # fmt: skip


def build(builders: Sequence[RowBuilder]) -> Rows:
    """Makes rows of what was built, padded on the CPU to the longest."""
    length = torch.tensor([len(b.ids) for b in builders], dtype=torch.int64)
    shape = len(builders), int(length.max()) if len(builders) else 0
    lists = [list(chain.from_iterable(getattr(b, name) for b in builders)) for name in _TOKEN_LISTS]
    chosen = [(row, *choice, True) for row, builder in enumerate(builders) for choice in builder.chosen]
    row, position, *choices = ([choice[column] for choice in chosen] for column in range(2 + len(_CHOICES)))
    chosen_at = tuple(torch.tensor([row, position], dtype=torch.int64))

    def matrices(dtypes: dict[str, torch.dtype], where: Any, columns: Sequence[list]) -> dict[str, Tensor]:
        """[B,T] of each name: a column of values at `where`, padding elsewhere."""
        made = {name: torch.full(shape, _PADDING.get(name, 0), dtype=dtype) for name, dtype in dtypes.items()}
        for matrix, values in zip(made.values(), columns, strict=True):
            matrix[where] = torch.tensor(values, dtype=matrix.dtype)
        return made

    return Rows(
        length=length,
        group=torch.tensor([b.group for b in builders], dtype=torch.int64),
        finished=torch.tensor([b.finished for b in builders], dtype=torch.bool),
        **matrices(_TOKEN_LISTS, torch.arange(shape[1]) < length[:, None], lists),
        **matrices(_CHOICES, chosen_at, choices),
    )
