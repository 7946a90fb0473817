"""The oracle at work: the bound and its gap, what a horizon costs, and the price c against the exact prior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ra3.seeds import derive
from theory import chain
from theory.causal import best_causal, causal_gap, document_probability, mean_elbo, random_policy
from theory.claims import Chart, Check, Finding, Series, Table, span
from theory.elbo import alpha_from_cost, cost_from_alpha, elbo, exact_switch_cost, latent_gradient, priced

NUM_LATENTS, NUM_ACTIONS, NUM_STEPS, ALPHA, SPREAD, WORLDS = 3, 2, 6, 0.8, 2.0, 8
COSTS = (0.0, 0.05, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
NO_ENTROPY = 200.0
"""How many times likelihood and price outweigh the entropy of q where the entropy is to play no part."""


def study_oracle(seed: int) -> Finding:
    """Worlds of 6 steps, 2 actions and 3 latents, all 64 documents weighted by their own probability."""
    worlds = [_world(derive(seed, "oracle", index)) for index in range(WORLDS)]
    exact = _identities(seed)
    gaps = _gap_by_stickiness(seed)
    horizon_chart, horizon_loss = _horizons(worlds)
    price_chart, price_loss = _prices(worlds)
    blind = [world.gap for world in worlds]
    single = [causal_gap(world.log_lik[:1], world.prior, world.docs[:1], np.ones(1)) for world in worlds]
    return Finding(
        name="ELBO",
        title="The temporal ELBO and the latents",
        statement=(
            "log p(a_1..T | s) >= E_q sum_t [log pi(a_t | s_t, z_t) - KL(q(z_t | s_t, z_<t) || p(z_t | z_<t))], with "
            "equality when q is the smoothing posterior. q of RA3 is causal: it does not see a_t."
        ),
        assumptions=["finite latents", "sticky prior", "pi depends on past latents through z_t alone"],
        holds=[
            Check(
                "forward-backward = sum over all latent sequences",
                f"largest difference {exact[0]:.0e}",
                exact[0] < 1e-10,
            ),
            Check("ELBO <= log p for random q", f"smallest gap {exact[1]:.3g} nats in 200 worlds", exact[1] > -1e-10),
            Check("ELBO = log p at the posterior", f"largest difference {exact[2]:.0e}", exact[2] < 1e-10),
            Check(
                "exact gradient of the ELBO = finite differences", f"largest difference {exact[3]:.0e}", exact[3] < 1e-6
            ),
            Check("c with an entropy bonus is a sticky prior", f"difference {exact[4]:.0e}", exact[4] < 1e-12),
            Check(
                "q that foresees its step closes the gap", f"gap {max(single):.0e} on one document", max(single) < 1e-10
            ),
        ],
        breaks=[
            Check("the best causal q reaches log p", f"{span(blind)} nats a document are left", max(blind) < 1e-9),
            Check(
                "a horizon of one step is enough",
                f"{horizon_loss:.2g} nats a document lost on average (H = 1)",
                horizon_loss < 1e-9,
            ),
            Check(
                "c without an entropy bonus is a sticky prior",
                f"at its best c it stays {price_loss:.2g} nats a document below the best causal q",
                price_loss < 1e-9,
            ),
        ],
        charts=[gaps, horizon_chart, price_chart],
        tables=[_price_table()],
        numbers={
            "evidence_difference": exact[0], "smallest_gap": exact[1], "gap_at_posterior": exact[2],
            "gradient_difference": exact[3], "causal_gap_mean": float(np.mean(blind)), "horizon_1_loss": horizon_loss,
            "no_entropy_loss": price_loss,
        },
    )


@dataclass(frozen=True)
class World:
    """Text written by a model itself: all documents [N,T] with their probabilities, log_lik [N,T,Z], and the prior."""

    log_lik: np.ndarray
    prior: np.ndarray
    docs: np.ndarray
    weights: np.ndarray

    @property
    def gap(self) -> float:
        """Nats a document that are lost because q does not see the step it writes for."""
        return causal_gap(self.log_lik, self.prior, self.docs, self.weights)

    @cached_property
    def best(self) -> float:
        """ELBO of the best causal q."""
        return self.reached(self.log_lik, self.prior)

    def reached(self, log_lik: np.ndarray, prior: np.ndarray, gamma: float = 1.0, horizon: int | None = None) -> float:
        """ELBO of the q that is best for another likelihood or prior, or for other returns."""
        q = best_causal(log_lik, prior, self.docs, self.weights, gamma, horizon)
        return mean_elbo(self.log_lik, self.prior, q, self.weights)


def _world(seed: int, alpha: float = ALPHA) -> World:
    rng = np.random.default_rng(seed)
    policy = random_policy(3, NUM_LATENTS, NUM_ACTIONS, SPREAD, rng)
    docs, prior = chain.every_sequence(NUM_ACTIONS, NUM_STEPS), chain.sticky_prior(alpha, NUM_LATENTS, NUM_STEPS)
    return World(policy.log_lik(docs), prior, docs, document_probability(policy, prior, docs))


def _identities(seed: int) -> tuple[float, ...]:
    """Largest differences over 200 random worlds of 4 steps (gradient: the first 10, every coordinate)."""
    rng = np.random.default_rng(derive(seed, "identities"))
    sequences = chain.every_sequence(3, 4)
    evidence_off, gaps, tight_off, slope_off = [], [], [], []
    for index in range(200):
        log_lik, prior = rng.normal(-2, 2, size=(4, 3)), chain.sticky_prior(rng.random(), 3, 4)
        logits = rng.normal(size=prior.shape)
        q = np.exp(logits - chain.logsumexp(logits)[..., None])
        evidence = chain.log_evidence(log_lik, prior)
        summed = chain.logsumexp(chain.log_probability(sequences, prior) + chain.log_likelihood(sequences, log_lik))
        evidence_off.append(abs(evidence - summed))
        gaps.append(evidence - elbo(log_lik, prior, q))
        tight_off.append(abs(evidence - elbo(log_lik, prior, chain.posterior_kernel(log_lik, prior))))
        if index < 10:
            slope_off.append(np.abs(latent_gradient(log_lik, prior, q) - _slopes(log_lik, prior, logits)).max())
    priors = [np.abs(priced(c, 3, 4) - chain.sticky_prior(alpha_from_cost(c, 3), 3, 4)).max() for c in COSTS]
    worst = max(evidence_off), min(gaps), max(tight_off), max(slope_off), max(priors)
    return tuple(float(value) for value in worst)


def _slopes(log_lik: np.ndarray, prior: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Central differences of the ELBO in every logit of q."""
    eye = 1e-5 * np.eye(logits.size).reshape(-1, *logits.shape)
    moved = logits + np.concatenate([eye, -eye])
    bounds = elbo(log_lik, prior, np.exp(moved - chain.logsumexp(moved)[..., None]))
    return ((bounds[: logits.size] - bounds[logits.size :]) / 2e-5).reshape(logits.shape)


def _gap_by_stickiness(seed: int) -> Chart:
    """The gap of the best causal q, with text written by models of each stickiness."""
    alphas = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0)
    gaps = []
    for alpha in alphas:
        made = [_world(derive(seed, "stickiness", index), alpha) for index in range(WORLDS)]
        gaps.append(float(np.mean([world.gap for world in made])))
    return Chart(
        "What not seeing the step costs",
        "E[log p] minus the best causal ELBO, nats a document: the price of a planner that can be deployed.",
        "stickiness of the prior, alpha", "gap, nats", [Series("best causal q", alphas, gaps)],
    )


def _horizons(worlds: list[World]) -> tuple[Chart, float]:
    """Mean ELBO lost by the fixed point of truncated, discounted returns, and that loss at H = 1."""

    def lost(gamma: float, horizon: int) -> float:
        return float(np.mean([w.best - w.reached(w.log_lik, w.prior, gamma, horizon) for w in worlds]))

    horizons = range(1, NUM_STEPS + 1)
    losses = {gamma: [lost(gamma, horizon) for horizon in horizons] for gamma in (1.0, 0.8, 0.5)}
    chart = Chart(
        "What a horizon costs",
        "ELBO lost against full returns, nats a document, where each boundary is rewarded for H steps only.",
        "horizon H, steps", "loss, nats",
        [Series(f"gamma {gamma:g}", list(horizons), own) for gamma, own in losses.items()],
    )
    return chart, losses[1.0][0]


def _prices(worlds: list[World]) -> tuple[Chart, float]:
    """ELBO lost by the q that each price c leads to, with and without an entropy bonus, and the least of it without."""

    def lost(cost: float, scale: float) -> float:
        prior = priced(scale * cost, NUM_LATENTS, NUM_STEPS)
        return float(np.mean([world.best - world.reached(scale * world.log_lik, prior) for world in worlds]))

    with_entropy, without = ([lost(cost, scale) for cost in COSTS] for scale in (1.0, NO_ENTROPY))
    exact = cost_from_alpha(ALPHA, NUM_LATENTS)
    chart = Chart(
        "The price of a switch, c",
        f"ELBO lost against the best causal q; with an entropy bonus nothing at c = {exact:.2f}, the exact prior.",
        "price c, nats", "loss, nats",
        [Series("with entropy bonus", COSTS, with_entropy), Series("without", COSTS, without)],
    )
    return chart, min(without)


def _price_table() -> Table:
    rows = []
    for cost in (0.05, 0.5, 3.0, 20.0):
        alphas = [alpha_from_cost(cost, size) for size in (3, 1000, 1e9)]
        rows.append([f"{cost:g}", *(f"{alpha:.3g}" for alpha in alphas)])
    for alpha in (0.5, 0.9):
        costs = [exact_switch_cost(alpha, size) for size in (3, 1000, 1e9)]
        rows.append([f"exact c at alpha = {alpha:g}", *(f"{cost:.3g}" for cost in costs)])
    return Table(
        "Which stickiness alpha a price c stands for, by the number of possible intentions; and the price that an "
        "alpha asks for, log(alpha / (1 - alpha)) + log|Z|. The paper's c = 0.05 is no literal prior once intentions "
        "are text.",
        ["c", "|Z| = 3", "|Z| = 1000", "|Z| = 1e9"],
        rows,
    )
