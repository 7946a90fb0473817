"""Bias and noise of every estimator: `python tests/em/estimator_table.py`.

Computed by tests/em/exact_moments.py. The last column is the engine's own sampler against the exact expectation: the
largest error over blocks of parameters, in standard errors.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from exact_moments import Estimator, Moments, moments, mstep_moments, sampler_error
from latent_world import ALPHA, NUM_LATENTS, make_world, sample

from ra3.rollout.interleave import LatentRules

FLOOR, DRIFT = 0.7, 0.005
"""Least probability of thinking; noise on q's weights where the ratio is not to be 1."""

PRIOR = {"exact_prior": (ALPHA, NUM_LATENTS)}


ESTIMATORS = (
    Estimator("leave_one_out", unbiased=True),
    Estimator("none", {"advantage": "none"}, unbiased=True),
    Estimator("group_mean", {"advantage": "group_mean"}),
    Estimator("group_std", {"advantage": "group_std"}),
    Estimator("batch_std, one group a batch", {"advantage": "batch_std"}),
    Estimator("leave_one_out, comments among thinkers", {"comment_baseline": "thinkers"}),
    Estimator("CISPO", loss="cispo", unbiased=True),
    Estimator("clipped, ratio not 1", drifts=True),
    Estimator("CISPO, ratio not 1", loss="cispo", drifts=True),
    Estimator("token mean, one group a batch", aggregation="token_mean"),
    Estimator("sequence mean", aggregation="sequence_mean"),
    Estimator("gamma = 0.9", {"gamma": 0.9}),
    Estimator("horizon = 1", {"horizon": 1}),
    Estimator("mean likelihood, of its own J", {"likelihood": "mean"}, unbiased=True, objective={"likelihood": "mean"}),
    Estimator("mean likelihood, of J", {"likelihood": "mean"}),
    Estimator("exact prior, of the ELBO", PRIOR, unbiased=True, objective=PRIOR),
    Estimator("think floor", floor=FLOOR),
    Estimator("gradient norm clipped", max_norm=2.0),
)


def table(count: int) -> Iterator[tuple[str, str, Moments, float | None]]:
    """(estimator, what it claims, its moments, the sampler's largest error in standard errors)."""
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
    moved = world.moved(DRIFT)
    drawn = {floor: sample(world, count, LatentRules(2, floor)) for floor in {e.floor for e in ESTIMATORS}}
    for e in ESTIMATORS:
        place = moved if e.drifts else world
        m = moments(place, e)
        error = sampler_error(place, e, drawn[e.floor], m.mean, along=m.mean).abs().max()
        yield e.name, "unbiased" if e.unbiased else "biased", m, float(error)
    for kind, claim in (("sum", "unbiased"), ("token mean", "biased"), ("best", "biased")):
        yield f"M-step: {kind}", claim, mstep_moments(world, kind), None


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
    print("| estimator | it is | scale | angle | noise | sampler |\n|---|---|---|---|---|---|")
    for name, claim, m, error in table(count):
        last = "" if error is None else f"{error:.1f}"
        print(f"| {name} | {claim} | {m.scale:.3f} | {m.angle:.2f} | {m.noise:.2f} | {last} |")


if __name__ == "__main__":
    main()
