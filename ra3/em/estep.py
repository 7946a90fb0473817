"""E-step: reinforcement learning finds the latents. No unit test and no verifier takes part.

    for each update:
        documents -> G interleaved rollouts each -> reward = log-likelihood of the expert's steps under the frozen pi,
        minus the price of thinking -> return over the horizon -> advantage in the group -> policy-gradient update of q

Deviations from the paper (arXiv 2509.25810), each a setting:
1. q is a copy of pi with weights of its own; pi stays frozen for the whole E-step.
2. The baseline leaves the rollout itself out; comments may be compared with comments only.
3. A floor on the probability of thinking in the first updates, and a controller that adapts c to a target think rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ra3.config.settings import EstepSettings, UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.data.order import batch_of
from ra3.model.action_spaces import expert_logp
from ra3.model.nonfinite import bad_rows_kept
from ra3.model.optimizers import make_optimizer
from ra3.model.policy import Policy
from ra3.model.update import RowScores, score
from ra3.rl.advantages import dead_groups
from ra3.rl.credit import Boundaries, Credit, estep_credit
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.rollout_records import rollout_records
from ra3.rollout.cursor import LatentRules
from ra3.rollout.interleave import expert_rows, interleave
from ra3.rows import COMMENT, Rows
from ra3.run.recorder import Recorder
from ra3.seeds import derive


@dataclass
class SwitchPenalty:
    """The price c of a new intention; with a target think rate it follows by dual ascent:

    log c <- log c + rate * (think_rate - target)
    """

    value: float
    target: float | None
    rate: float = 5.0

    def observe(self, think_rate: float) -> None:
        """Moves c after an update."""
        if self.target is not None and math.isfinite(self.value):
            self.value = max(self.value, 1e-3) * math.exp(self.rate * (think_rate - self.target))

    def state_dict(self) -> dict[str, float]:
        """c."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restores c."""
        self.value = state["value"]


@dataclass(frozen=True)
class EStepJob:
    """What an E-step works on."""

    documents: Sequence[EncodedDocument]
    config: EstepSettings
    update: UpdateSettings
    seed: int
    em_round: int = 0
    view: Callable[[EncodedDocument, int], EncodedDocument] | None = None
    """What a rollout sees of a document, by a seed of update and document; None: the document as it is."""
    judge: Literal["frozen", "self"] = "frozen"
    """Whose likelihood is the reward: that of the frozen pi, or of the policy that learns."""

    def rules(self, step: int) -> LatentRules:
        """Sampling rules of one update: the floor holds for the first `floor_updates`; c = inf never thinks."""
        floor = self.config.think_floor if step < self.config.floor_updates else 0.0
        return LatentRules(self.config.max_latent_tokens, floor, think=math.isfinite(self.config.switch_penalty))

    def batch(self, step: int) -> list[EncodedDocument]:
        """The documents of one update."""
        share = max(1, math.ceil(self.config.document_share * len(self.documents)))
        index = batch_of(share, self.config.documents, step, derive(self.seed, "estep", self.em_round))
        chosen = [self.documents[i] for i in index]
        if self.view is None:
            return chosen
        return [self.view(d, derive(self.seed, "view", self.em_round, step, d.document.id)) for d in chosen]

    def seeds(self, step: int, documents: Sequence[EncodedDocument]) -> list[int]:
        """One seed per rollout."""
        return [
            derive(self.seed, "estep", self.em_round, step, d.document.id, sample)
            for d in documents
            for sample in range(self.config.group_size)
        ]


def updates_of(config: EstepSettings, num_documents: int) -> int:
    """Updates of a round over D documents: as set, or max(8, ceil(0.4 D / (documents * group_size))), so that the
    E-step costs a share of the M-step."""
    if config.updates is not None:
        return config.updates
    return max(8, math.ceil(0.4 * num_documents / (config.documents * config.group_size)))


def estep(recorder: Recorder, pi: Policy, job: EStepJob) -> Policy:
    """Trains q, starting from pi, to write latents under which pi finds the expert's steps likely."""
    q, pi = pi.snapshot(), pi.roughly()
    optimizer = make_optimizer(q.model, "adamw", job.config.learning_rate)
    penalty = SwitchPenalty(job.config.price(job.em_round), job.config.target_think_rate)
    loss = PolicyLoss("clip", job.config.clip_low, job.config.clip_high)
    total = updates_of(job.config, len(job.documents))
    for step in recorder.loop(f"estep-{job.em_round}", total, q=q.model, optimizer=optimizer, penalty=penalty):
        documents = job.batch(step)
        rows = interleave(q, documents, job.config.group_size, job.rules(step), job.seeds(step, documents))
        pi_scores = score(pi if job.judge == "frozen" else q, rows, rows.expert, job.update.micro_batch_tokens)
        boundaries = Boundaries.of(rows, q.syntax.newline_id)
        credit = estep_credit(rows, boundaries, pi_scores, job.config.group_size, job.config, penalty.value)
        names = [d.document.id for d in documents for _ in range(job.config.group_size)]
        with bad_rows_kept(recorder.run, {"stage": "estep", "round": job.em_round, "step": step}, q, names):
            numbers = policy_step(q, optimizer, rows, credit.advantage, loss, job.update)
        numbers |= latent_metrics(rows, boundaries, credit, job.config.group_size) | {"switch_penalty": penalty.value}
        numbers |= gain_metrics(pi, documents, rows, pi_scores, job)
        numbers |= copy_rates(q, rows, documents, job.config.group_size)
        recorder.log("estep", job.em_round, step, total, numbers)
        if recorder.wants_rollouts(step, total):
            for record in rollout_records(q, rows, credit.advantage, credit.reward.sum(1), documents):
                recorder.rollout({"stage": "estep", "round": job.em_round, "step": step, **record})
        penalty.observe(numbers["think_rate"])
    return q


def latent_metrics(rows: Rows, boundaries: Boundaries, credit: Credit, group_size: int) -> dict[str, float]:
    """How much is thought, how long it lasts, and what it earned."""
    decided, thinks = boundaries.decided.sum(), boundaries.think.sum()
    comments = (rows.space == COMMENT) & rows.act
    groups = credit.returns.unflatten(0, (-1, group_size))
    counted = boundaries.decided.unflatten(0, (-1, group_size))
    return {
        "think_rate": _ratio(thinks, decided),
        "option_duration": _ratio(boundaries.exists.sum(), thinks + len(rows)),
        "comment_tokens": _ratio(comments.sum() - thinks + boundaries.unclosed.sum(), thinks),
        "reward": _ratio(credit.reward.sum(), boundaries.exists.sum()),
        "return": _ratio((credit.returns * boundaries.decided).sum(), decided),
        "elbo": float((credit.likelihood - credit.cost).sum(1).mean()),
        "dead_groups": float(dead_groups(groups, counted).float().mean()),
        "tokens_generated": float((rows.act & (rows.space == COMMENT)).sum() + thinks),
    }


def gain_metrics(
    pi: Policy, documents: Sequence[EncodedDocument], rows: Rows, pi_scores: RowScores, job: EStepJob
) -> dict[str, float]:
    """Cross-entropy of expert tokens under pi with the sampled latents and without any, nats per token."""
    plain = expert_rows(pi, documents, decisions=True)
    without = expert_nll(plain, score(pi, plain, plain.expert, job.update.micro_batch_tokens))
    with_latents = expert_nll(rows, pi_scores)
    return {"expert_nll": with_latents, "expert_nll_act": without, "latent_gain": without - with_latents}


def expert_nll(rows: Rows, scores: RowScores) -> float:
    """Nats per expert token, given the latents written before it."""
    logp = expert_logp(scores.logp, scores.logp_act, rows.space, rows.act, rows.expert)
    return -float(logp.sum() / rows.expert.sum())


def copy_rates(policy: Policy, rows: Rows, documents: Sequence[EncodedDocument], group_size: int) -> dict[str, float]:
    """Share of comments that repeat the line they precede, and the line before it: at least 4/5 of their tokens stand
    in it, in a row."""
    copies, echoes, comments = 0, 0, 0
    comment_tokens = rows.act & (rows.space == COMMENT)
    for r in comment_tokens.any(1).nonzero()[:, 0].tolist():
        steps = documents[r // group_size].step_ids
        for t in rows.seg[r][comment_tokens[r]].unique().tolist():
            words = rows.ids[r][comment_tokens[r] & (rows.seg[r] == t)].tolist()
            said = [w for w in words if policy.token_text(w).strip()]
            comments += 1
            copies += repeats(said, steps[t])
            echoes += t > 0 and repeats(said, steps[t - 1])
    return {"copy_rate": copies / max(comments, 1), "echo_rate": echoes / max(comments, 1)}


def repeats(words: Sequence[int], line: Sequence[int]) -> bool:
    """Whether at least 4/5 of the words stand in the line as one run."""
    return len(words) > 0 and _longest_run(words, line) >= 0.8 * len(words)


def _longest_run(words: Sequence[int], line: Sequence[int]) -> int:
    """Length of the longest common contiguous run."""
    best, ending = 0, [0] * (len(line) + 1)
    for word in words:
        ending = [0] + [ending[i] + 1 if token == word else 0 for i, token in enumerate(line)]
        best = max(best, *ending)
    return best


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) else 0.0
