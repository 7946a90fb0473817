"""A step whose numbers are NaN or infinite is not taken: the rows to blame are named and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.rows import Rows
from ra3.run.files import write_atomic
from ra3.run.folder import Run

FILE = "bad-rows.jsonl"


class NotFinite(ArithmeticError):
    """A step that was not taken: the policy and its optimiser are as before. `bad`: indices of the rows to blame."""

    def __init__(self, what: str, rows: Rows, bad: Sequence[int]):
        super().__init__(what)
        self.what, self.rows, self.bad = what, rows, list(bad)


def refuse_not_finite(rows: Rows, wanted: Tensor, **values: Tensor) -> None:
    """NotFinite if one of the named values [B,T] is NaN or infinite at a token in `wanted` [B,T]."""
    for name, value in values.items():
        bad = (~torch.isfinite(value) & wanted).any(1)
        if bool(bad.any()):
            raise NotFinite(f"the {name.replace('_', ' ')} is not finite", rows, bad.nonzero()[:, 0].tolist())


@contextmanager
def bad_rows_kept(run: Run, place: Mapping[str, object], policy: Policy, names: Sequence[str]) -> Iterator[None]:
    """Turns NotFinite into a UserError that says which documents are to blame, after their rows are in a file.

    place: where the run is, as in metrics.jsonl: stage, round, step; names: the document or problem of every row.
    """
    try:
        yield
    except NotFinite as error:
        blamed = list(dict.fromkeys(names[r] for r in error.bad))
        lines = [{**place, "document": names[r], **_record(policy, error.rows, r)} for r in error.bad]
        with run.guard(f"write {FILE}"):
            write_atomic(run.path(FILE), "".join(json.dumps(line) + "\n" for line in lines).encode())
        shown = ", ".join(blamed[:5]) + (f" and {len(blamed) - 5} more" if len(blamed) > 5 else "")
        where = f"{place['stage']} step {place['step']}"
        raise UserError(
            f"training stopped at {where}: {error.what}; to blame: {shown or 'no row alone'}",
            where=str(run.path(FILE)),
            fix="mend these rows or lower the learning rate (run.dtype=float32 is safer). Then go on with:\n"
            f"  {run.resume_line}\n  with settings changed: --fork {run.folder} and another run.name",
        ) from error


def _record(policy: Policy, rows: Rows, r: int) -> dict[str, object]:
    ids = rows.tokens(r)
    return {"ids": ids, "text": policy.tokenizer.decode(ids)}
