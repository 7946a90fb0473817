"""Expectation and noise of an estimator of the E-step's or the M-step's gradient, as finite sums over all groups.

On the enumerable world of tests/em/latent_world.py. An estimator turns a group of G rollouts into a gradient; its mean
over all 9^G groups is a sum, and so is its mean square.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from latent_world import SEQUENCES, G, LatentWorld, under_floor
from torch import Tensor

from ra3.config.settings import EstepSettings
from ra3.em.mstep import as_text_only, trained_tokens
from ra3.model.action_spaces import log_probability
from ra3.model.update import forward_trunk
from ra3.rl.losses import AGGREGATIONS, POLICY_LOSSES
from ra3.rows import Rows

CLIP = 0.2
BASE = {"group_size": G, "horizon": 8, "gamma": 1.0, "format_penalty": 0.0, "comment_baseline": "all"}


@dataclass(frozen=True)
class Estimator:
    """One way to turn a group of rollouts into a gradient."""

    name: str
    settings: dict[str, object] = field(default_factory=dict)
    """Of the E-step, where they differ from BASE."""
    loss: str = "clip"
    aggregation: str = "constant"
    drifts: bool = False
    """Whether q has moved since the rollouts, so that the ratio is not 1."""
    floor: float = 0.0
    """Least probability of thinking while sampling."""
    max_norm: float = float("inf")
    """Each group's gradient is scaled down to this norm."""
    unbiased: bool = False
    """Whether it claims to be an unbiased estimate of the gradient of `objective`."""
    objective: dict[str, object] | None = None
    """Settings of what it is compared with, if not J."""

    @property
    def config(self) -> EstepSettings:
        """Settings of the E-step under which it runs."""
        return EstepSettings.model_validate(BASE | self.settings)

    @property
    def target(self) -> EstepSettings:
        """Settings of the objective."""
        return EstepSettings.model_validate(BASE | (self.objective or {}))


@dataclass(frozen=True)
class Moments:
    """What an estimator does in expectation over all groups."""

    mean: Tensor
    """[P] its expectation."""
    exact: Tensor
    """[P] the gradient that it stands for."""
    noise: float
    """Standard deviation of one group's estimate along the exact gradient, relative to that gradient's norm."""

    @property
    def scale(self) -> float:
        """Length of the expectation along the exact gradient, relative to it: 1 if unbiased."""
        return float(self.mean @ self.exact / self.exact.square().sum())

    @property
    def angle(self) -> float:
        """Degrees between the expectation and the exact gradient: 0 if unbiased up to a factor."""
        beside = (self.mean - self.scale * self.exact).norm() / self.exact.norm()
        return math.degrees(math.atan2(float(beside), self.scale))


@cache
def all_groups() -> tuple[Tensor, Tensor]:
    """([N,G] groups of latent sequences up to their order, [N] in how many orders each can be drawn)."""
    index = torch.combinations(torch.arange(SEQUENCES), G, with_replacement=True)
    orders = [math.factorial(G) / math.prod(map(math.factorial, Counter(g).values())) for g in index.tolist()]
    return index, torch.tensor(orders)


def exact_gradient(world: LatentWorld, config: EstepSettings) -> Tensor:
    """[P] gradient of J = E_q[sum of rewards]; the exact prior's log q adds nothing, since E_q[grad log q] = 0."""
    now = replace(world.rows, logp_old=world.logp)
    value = world.credit(torch.arange(SEQUENCES), config.model_copy(update={"group_size": 1}), now).reward.sum(1)
    return world.gradient((world.logp.sum(1).exp() * value)[:, None] * now.action_mask)


def coefficients(world: LatentWorld, estimator: Estimator, rows: Rows, index: Tensor) -> Tensor:
    """[N,9,T] what each group's gradient step ascends, as factors of the gradients of log q of the acted tokens.

    `rows` [N*G], in groups, of which row r is sequence `index` [N,G].flatten()[r].
    """
    groups = range(0, len(rows), G)
    if estimator.settings.get("advantage") == "batch_std":
        parts = [
            world.credit(index.flatten()[g : g + G], estimator.config, rows.select(slice(g, g + G))) for g in groups
        ]
        advantage = torch.cat([part.advantage for part in parts])
    else:
        advantage = world.credit(index, estimator.config, rows).advantage
    aggregate = AGGREGATIONS[estimator.aggregation]
    weight = torch.cat([aggregate(rows.action_mask[g : g + G], 1) for g in groups]).float()
    logp = world.logp[index.flatten(), : rows.ids.shape[1]].requires_grad_()
    POLICY_LOSSES[estimator.loss](logp, rows.logp_old, advantage, weight, CLIP, CLIP).backward()
    assert logp.grad is not None
    slots = torch.zeros(len(index), SEQUENCES, world.rows.ids.shape[1])
    place = torch.arange(len(index)).repeat_interleave(G)
    slots[..., : rows.ids.shape[1]].index_put_((place, index.flatten()), -logp.grad, accumulate=True)
    return limited(world, slots, estimator.max_norm)


def limited(world: LatentWorld, slots: Tensor, max_norm: float) -> Tensor:
    """Gradients of more than `max_norm` scaled down to it, as the optimiser step does."""
    if math.isinf(max_norm):
        return slots
    own = slots[:, world.rows.action_mask].double()
    gram = (world.jacobian @ world.jacobian.T).double()
    norm = (own @ gram * own).sum(1).clamp(min=0).sqrt()
    return slots * (max_norm / norm.clamp(min=max_norm))[:, None, None].float()


def moments(world: LatentWorld, estimator: Estimator) -> Moments:
    """Expectation and noise over all groups."""
    rows = under_floor(world, estimator.floor) if estimator.floor else world.rows
    log_behaviour = (rows.logp_old - rows.importance.log()).sum(1)
    index, orders = all_groups()
    probability = log_behaviour[index].sum(1).exp() * orders
    unit = mean_length(rows, log_behaviour) if estimator.aggregation != "constant" else 1.0
    slots = coefficients(world, estimator, rows.select(index.flatten()), index) * unit
    exact = exact_gradient(world, estimator.target)
    along = slots[:, world.rows.action_mask] @ (world.jacobian @ exact / exact.square().sum())
    mean = (probability * along).sum()
    noise = (probability * (along - mean).square()).sum().sqrt()
    return Moments(world.gradient(torch.einsum("n,nrt->rt", probability, slots)), exact, float(noise))


def mean_length(rows: Rows, log_behaviour: Tensor) -> float:
    """Expected number of acted tokens of a rollout."""
    return float((log_behaviour.exp() * rows.action_mask.sum(1)).sum())


def sampler_error(
    world: LatentWorld, estimator: Estimator, drawn: tuple[Rows, Tensor], expected: Tensor, along: Tensor
) -> Tensor:
    """[blocks] (mean over the sampler's groups - expectation [P]) / its standard error, along the parts of a vector.

    `drawn` are rows in groups, and which of the 9 sequences each is.
    """
    rows, index = drawn
    slots = coefficients(world, estimator, rows, index.unflatten(0, (-1, G)))[:, world.rows.action_mask]
    if estimator.aggregation != "constant":
        slots = slots * mean_length(world.rows, world.rows.logp_old.sum(1))
    blocks = [(block, along[block] / along[block].norm()) for block in world.blocks.values()]
    seen = slots @ torch.stack([world.jacobian[:, block] @ unit for block, unit in blocks], 1)
    centre = torch.stack([expected[block] @ unit for block, unit in blocks])
    return (seen.mean(0) - centre) / (seen.std(0) / len(seen) ** 0.5)


def annotated_gradients(world: LatentWorld) -> tuple[Tensor, Tensor]:
    """([9,P] gradient of each annotated document's log-likelihood under q, [9] its trained tokens)."""
    trained = trained_tokens(world.rows)
    gradients = []
    for r in range(SEQUENCES):
        row = slice(r, r + 1)
        (tokens,) = forward_trunk(world.q, as_text_only(world.rows.select(row)), trained[row], 10_000)
        logp = world.q.by_parts(log_probability, tokens.hidden, tokens.ids)
        parts = torch.autograd.grad(logp.sum(), list(world.q.model.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(gradients), trained.sum(1).float()


def mstep_moments(world: LatentWorld, kind: str) -> Moments:
    """M-step on G annotated copies of the document: "sum" of their losses, "token mean" over them, or "best" of G.

    Stands for the exact M-step, the gradient of E_q[log pi(a, z)].
    """
    gradients, tokens = annotated_gradients(world)
    q = world.logp.sum(1).exp()
    index, orders = all_groups()
    probability = q[index].prod(1) * orders
    if kind == "best":
        reward = world.credit(
            torch.arange(SEQUENCES), EstepSettings.model_validate(BASE | {"group_size": 1}), world.rows
        ).reward.sum(1)
        share = torch.nn.functional.one_hot(index.gather(1, reward[index].argmax(1)[:, None])[:, 0], SEQUENCES).float()
    else:
        counts = torch.nn.functional.one_hot(index, SEQUENCES).sum(1).float()
        divisor = G if kind == "sum" else (counts @ tokens)[:, None] / (q @ tokens)
        share = counts / divisor
    exact = q @ gradients
    along = share @ (gradients @ exact / exact.square().sum())
    mean = (probability * along).sum()
    noise = (probability * (along - mean).square()).sum().sqrt()
    return Moments((probability @ share) @ gradients, exact, float(noise))
