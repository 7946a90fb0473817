"""The RL step that the E-step and RLVR share: rows with advantages -> policy loss -> one update, and its health."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ra3.config.settings import UpdateSettings
from ra3.model.nonfinite import refuse_not_finite
from ra3.model.optimizers import Optimizer
from ra3.model.policy import Policy
from ra3.model.update import Picked, RowScores, fit
from ra3.rl.losses import AGGREGATIONS, POLICY_LOSSES, clip_share
from ra3.rows import Rows


@dataclass(frozen=True)
class PolicyLoss:
    """Which policy loss and clip range, the temperature that the rows were sampled at, and what each token weighs."""

    name: str
    clip_low: float
    clip_high: float
    temperature: float = 1.0
    aggregation: str = "token_mean"
    max_tokens: int = 1
    """The longest that a row's acted tokens can be, for the aggregation "constant"."""


def policy_step(
    policy: Policy, optimizer: Optimizer, rows: Rows, advantage: Tensor, loss: PolicyLoss, update: UpdateSettings
) -> dict[str, float]:
    """One policy-gradient update on the acted tokens of `rows`, `advantage` [B,T].

    A batch without any signal (all advantages 0) leaves weights and optimiser state untouched; so does one with values
    that are not finite, which raises NotFinite.
    """
    acted = rows.act & rows.valid
    refuse_not_finite(rows, acted, log_probability_while_sampling=rows.logp_old, advantage=advantage)
    if not bool((advantage[acted] != 0).any()):
        return {"advantage_std": 0.0, "loss": 0.0, "grad_norm": 0.0, "tokens_trained": 0.0}
    loss_fn = POLICY_LOSSES[loss.name]
    weight = AGGREGATIONS[loss.aggregation](acted, loss.max_tokens).to(policy.device, policy.score_dtype)
    old, adv = rows.logp_old.to(policy.device), advantage.to(policy.device)

    def token_loss(picked: Picked) -> Tensor:
        logp = picked.scores.logp_act
        return loss_fn(logp, picked.of(old), picked.of(adv), picked.of(weight), loss.clip_low, loss.clip_high)

    live = ((advantage != 0) & acted).any(1)
    scores, numbers = fit(policy, optimizer, rows, acted, token_loss, update, loss.temperature, live)
    return {**numbers, **_health(rows, scores, advantage, acted, loss)}


def logp_gap(rows: Rows, scores: RowScores, acted: Tensor) -> float:
    """Largest |log q while sampling - log q while scoring| of the choices in `acted`, under the same weights."""
    return float((rows.logp_old - scores.logp_act)[acted].abs().max())


def _health(rows: Rows, scores: RowScores, advantage: Tensor, acted: Tensor, loss: PolicyLoss) -> dict[str, float]:
    return {
        "tokens_trained": float(acted.sum()),
        "advantage_std": float(advantage[acted].std(correction=0)),
        "entropy": float(scores.entropy[acted].mean()),
        "clip_share": float(clip_share(scores.logp_act, rows.logp_old, acted, loss.clip_low, loss.clip_high)),
        "logp_gap_max": logp_gap(rows, scores, acted),
    }
