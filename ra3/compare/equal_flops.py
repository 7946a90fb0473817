"""Equal FLOPs: every mid-trained variant has a twin whose mid-training takes the FLOPs of one variant's, the reference.

    F = E + f D        E: FLOPs of E-step and annotation;  f: of one token in the M-step;  D: tokens of the M-steps

A variant that is cheaper than the reference spends what is left on its M-steps; one that is dearer becomes smaller in
all its parts, so that neither its E-step nor its M-step is starved:

    F <= F_ref, or E = 0:   D' = (F_ref - E) / f
    F >  F_ref:             D' = s D,  U' = s U,  N' = s N,   s = F_ref / F;  U: updates of an E-step;  N: documents

A method without an M-step gets U' = s U either way. All is read from the ledger of the variant's run at equal tokens,
F_ref from the reference's, both on the twin's seed. What a twin really takes differs a little, as its latents do; it is
shown. A run that was interrupted between checkpoints has paid for some work twice, and its ledger counts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ra3.compare.definition import BASE, TWIN, Comparison, GridCell
from ra3.errors import UserError
from ra3.run.inspect import RUN_AGAIN, finished_run
from ra3.run.ledger import Costs, Spent, total

ROUNDED_TO = 1000
"""Tokens are given in thousands, so that a command can be read."""


@dataclass(frozen=True)
class Budget:
    """What a twin gets, and why: Budget("ntp", 70, 3.2e12, 0.0, {"midtrain.mstep.tokens": 217000})."""

    variant: str
    seed: int
    flops: float  # F_ref
    before: float  # E: what the variant's E-step and annotation take
    settings: dict[str, int]  # what differs from the run at equal tokens; empty: the method costs nothing


class Size(NamedTuple):
    """How large a run was: Size(em_rounds=2, updates=24, documents=1500)."""

    em_rounds: int
    updates: int  # of an E-step
    documents: int  # held-out ones among them


def midtraining(costs: Costs) -> dict[str, Spent]:
    """What mid-training took: "before" (E-step and annotation) and "mstep"; measuring left out."""
    return {"before": total(costs, "estep", "annotate"), "mstep": total(costs, "mstep")}


def equalised(size: Size, own: dict[str, Spent], flops: float) -> dict[str, int]:
    """The settings with which a variant of this size and cost `own` takes `flops`; none if it takes nothing."""
    before, mstep = own["before"].flops, own["mstep"]
    if not before + mstep.flops:
        return {}
    share = flops / (before + mstep.flops)
    updates = {"midtrain.estep.updates": max(1, round(share * size.updates))} if size.updates else {}
    if not mstep.trained:
        return updates
    if share < 1 and before:
        documents = {"corpus.documents": max(1, round(share * size.documents))}
        return {**updates, **documents, "midtrain.mstep.tokens": _rounded(share * mstep.trained / size.em_rounds)}
    tokens = (flops - before) / (mstep.flops / mstep.trained)
    return {"midtrain.mstep.tokens": _rounded(tokens / size.em_rounds)}


def _rounded(tokens: float) -> int:
    return int(tokens) if tokens < ROUNDED_TO else int(tokens / ROUNDED_TO) * ROUNDED_TO


def budgets(comparison: Comparison, out: Path) -> list[Budget]:
    """What every twin gets, as far as the runs are there that it is read from."""
    found = (_budget(comparison, name, seed, out) for seed in comparison.seeds for name in with_twin(comparison))
    return [budget for budget in found if budget]


def twins(comparison: Comparison, known: list[Budget], out: Path) -> list[GridCell]:
    """The cells of the twins whose budgets are known."""
    variants, rlvr = comparison.variants, comparison.rlvr
    return [
        comparison.cell(b.variant + TWIN, b.seed, {**variants[b.variant], **b.settings}, b.variant in rlvr, out)
        for b in known
        if b.settings
    ]


def rivals(comparison: Comparison, variant: str) -> Iterator[str]:
    """The variants that one is compared with: a twin with twins, the reference, which is its own twin, with both.

    Each pair once: what others are compared with is itself compared only with those after it in `against`.
    """
    twin, both = variant.endswith(TWIN), variant == comparison.equal_flops
    plain, all_ = variant.removesuffix(TWIN), comparison.against
    for against in all_[all_.index(plain) + 1 :] if plain in all_ else all_:
        its_twin = against if against in (comparison.equal_flops, BASE) else against + TWIN
        others = [*([] if twin else [against]), *([its_twin] if twin or both else [])]
        yield from dict.fromkeys(other for other in others if other != variant)


def with_twin(comparison: Comparison) -> list[str]:
    """The variants that have a twin."""
    reference = comparison.equal_flops
    return [name for name in comparison.variants if reference and name not in (BASE, reference)]


def _budget(comparison: Comparison, variant: str, seed: int, out: Path) -> Budget | None:
    """None while one of the two runs is not finished."""
    names = (variant, str(comparison.equal_flops))
    commands = [comparison.cell(name, seed, comparison.variants[name], False, out).commands[0] for name in names]
    if not all(command.is_finished() for command in commands):
        return None
    run, reference = (finished_run(command.folder) for command in commands)
    own, other = midtraining(run.costs), midtraining(reference.costs)
    flops = other["before"].flops + other["mstep"].flops
    if not flops:
        raise UserError("this run's ledger has no FLOPs to equal", where=str(reference.folder), fix=RUN_AGAIN)
    updates = sum(line.em_round == 0 for line in run.stages.get("estep", ()))
    documents = run.facts.corpus.documents + run.facts.corpus.heldout
    size = Size(commands[0].config().midtrain.em_rounds, updates, documents)
    return Budget(variant, seed, flops, own["before"].flops, equalised(size, own, flops))
