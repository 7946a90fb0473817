"""Rows: the one data structure of the engine, a batch of token sequences and what the policy chose in them.

Shape legend: _B rows, _T tokens (padded), _S steps, _D documents, _G rollouts of one group, _V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

FULL, DECISION, COMMENT = 0, 1, 2
"""Action spaces. An acted token was drawn from: the full vocabulary; the binary choice think / act at the start of a
line (the token is "#" for think, the first token of the forced step for act); the ids allowed inside a comment."""

CONTEXT = -1
"""`seg` of tokens that belong to no step: the prompt, and padding."""


@dataclass(frozen=True)
class Rows:
    """B token sequences, right-padded to T.

    Example, the line `x = 1` written under the intention `# one` after the prompt `def f():`::

        ids     <s> def f (): \\n   #  one \\n   x  =  1 \\n
        seg      -1  -1 -1 -1 -1   0   0   0   0  0  0  0
        act       0   0  0  0  0   1   1   1   0  0  0  0
        space     0   0  0  0  0   1   2   2   0  0  0  0
        expert    0   0  0  0  0   0   0   0   1  1  1  1
    """

    ids: Tensor
    """[B,T] int64, token ids; the truth, text is a view."""
    length: Tensor
    """[B] int64, valid tokens of each row."""
    act: Tensor
    """[B,T] bool, tokens at which the policy chose something and from which it may learn."""
    space: Tensor
    """[B,T] int8, the action space of each acted token (FULL, DECISION or COMMENT)."""
    expert: Tensor
    """[B,T] bool, tokens of forced expert steps."""
    seg: Tensor
    """[B,T] int64, index of the step (or turn) that a token belongs to, CONTEXT outside."""
    logp: Tensor
    """[B,T] float32, log-probability of the token under the full vocabulary as the sampler saw it; 0 where unscored."""
    logp_old: Tensor
    """[B,T] float32, log-probability of the choice in its action space under the sampling policy; 0 where not acted."""
    importance: Tensor
    """[B,T] float32, policy over behaviour probability of the choice: 1 unless exploration forced other odds."""
    group: Tensor
    """[B] int64, rows of one group answer the same document or problem."""
    closed: Tensor
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
        return (self.seg != CONTEXT) & ~self.expert & self.valid

    @property
    def num_steps(self) -> int:
        """Steps of the longest row."""
        return int(self.seg.max()) + 1 if self.seg.numel() else 0

    def select(self, index: Tensor | slice | list[int]) -> Self:
        """The rows at `index` (a slice, a bool mask [B] or int64 indices)."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> Self:
        """The same rows on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def tokens(self, row: int) -> list[int]:
        """The valid token ids of one row."""
        return self.ids[row, : int(self.length[row])].tolist()


_PADDING = {"seg": CONTEXT, "importance": 1.0}


def pad_time(x: Tensor, num_tokens: int, value: float) -> Tensor:
    """[B,t] -> [B,num_tokens], right-padded with `value`."""
    return torch.nn.functional.pad(x, (0, num_tokens - x.shape[1]), value=value)


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows of several batches as one batch; group numbers are taken as they are."""
    width = max(p.ids.shape[1] for p in parts)

    def join(name: str) -> Tensor:
        tensors = [getattr(p, name) for p in parts]
        if tensors[0].dim() == 2:
            tensors = [pad_time(x, width, _PADDING.get(name, 0)) for x in tensors]
        return torch.cat(tensors)

    return Rows(**{f.name: join(f.name) for f in fields(Rows)})


@dataclass
class RowBuilder:
    """One row while it grows, token by token (lists of equal length)."""

    group: int
    ids: list[int]
    act: list[bool]
    space: list[int]
    expert: list[bool]
    seg: list[int]
    logp: list[float]
    logp_old: list[float]
    importance: list[float]
    closed: bool = True

    @classmethod
    def start(cls, group: int, prefix_ids: Sequence[int]) -> Self:
        """A row that holds only its prompt."""
        n = len(prefix_ids)
        builder = cls(group, [], [], [], [], [], [], [], [])
        no, zero = [False] * n, [0.0] * n
        builder._extend(prefix_ids, no, [FULL] * n, no, [CONTEXT] * n, zero, zero, [1.0] * n)
        return builder

    def append(self, token: int, seg: int, space: int, logp: float, logp_old: float, importance: float = 1.0) -> None:
        """Adds a token that the policy sampled."""
        self._extend([token], [True], [space], [False], [seg], [logp], [logp_old], [importance])

    def choose(self, ids: Sequence[int], logps: Sequence[float], logps_old: Sequence[float]) -> None:
        """Adds tokens that the policy sampled from the full vocabulary, all in step 0."""
        n = len(ids)
        self._extend(ids, [True] * n, [FULL] * n, [False] * n, [0] * n, logps, logps_old, [1.0] * n)

    def force(self, ids: Sequence[int], seg: int, logps: Sequence[float], expert: bool = True) -> None:
        """Adds tokens that were given, not chosen."""
        n = len(ids)
        self._extend(ids, [False] * n, [FULL] * n, [expert] * n, [seg] * n, logps, [0.0] * n, [1.0] * n)

    def mark_decision(self, position: int, logp_old: float, importance: float = 1.0) -> None:
        """Records that the forced token at `position` stands for the choice `act`."""
        self.act[position], self.space[position] = True, DECISION
        self.logp_old[position], self.importance[position] = logp_old, importance

    def _extend(self, *columns: Sequence) -> None:
        """Adds tokens, given as one sequence per column in the order of _COLUMNS."""
        for name, values in zip(_COLUMNS, columns, strict=True):
            getattr(self, name).extend(values)


_COLUMNS = ("ids", "act", "space", "expert", "seg", "logp", "logp_old", "importance")


def build(builders: Sequence[RowBuilder]) -> Rows:
    """Finished rows, padded on the CPU to the longest."""
    length = torch.tensor([len(b.ids) for b in builders])
    width = int(length.max()) if len(builders) else 0

    def matrix(name: str, dtype: torch.dtype) -> Tensor:
        out = torch.full((len(builders), width), _PADDING.get(name, 0), dtype=dtype)
        for row, builder in zip(out, builders, strict=True):
            row[: len(builder.ids)] = torch.tensor(getattr(builder, name), dtype=dtype)
        return out

    return Rows(
        ids=matrix("ids", torch.int64),
        length=length,
        act=matrix("act", torch.bool),
        space=matrix("space", torch.int8),
        expert=matrix("expert", torch.bool),
        seg=matrix("seg", torch.int64),
        logp=matrix("logp", torch.float32),
        logp_old=matrix("logp_old", torch.float32),
        importance=matrix("importance", torch.float32),
        group=torch.tensor([b.group for b in builders], dtype=torch.int64),
        closed=torch.tensor([b.closed for b in builders], dtype=torch.bool),
    )
