"""E-step: reinforcement learning finds the latents. No unit test and no verifier takes part.

    for each update:
        documents -> G interleaved rollouts each -> reward = log-likelihood of the expert's steps under the frozen pi,
        minus the price of thinking -> return over the horizon -> advantage in the group -> policy-gradient update of q

Deviations from the paper (arXiv 2509.25810), each a setting:
1. q is a copy of pi with weights of its own; pi stays frozen for the whole E-step.
2. The baseline leaves the rollout itself out; comments may be compared with comments only.
3. A floor on the probability of thinking in the first updates; a price that grows from one EM round to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from torch import Tensor

from ra3.config.settings import EstepSettings, UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.model.action_spaces import TokenScores, step_logp
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.advantages import dead_groups
from ra3.rl.credit import Credit, estep_credit
from ra3.rl.loop import PolicyLoss, Rollouts, Task
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.rows import Rows
from ra3.run.recorder import Recorder
from ra3.seeds import batch_of, derive

View = Callable[[EncodedDocument, int], EncodedDocument]
"""What a rollout sees of a document, by a seed of update and document."""


@dataclass
class InterleavedRollouts(Rollouts):
    """Rollouts with latents, and what they earned."""

    pi_scores: TokenScores = field(init=False)
    """Scores of the expert's steps under pi."""
    credit: Credit = field(init=False)


@dataclass
class EStep(Task):
    """The E-step of one EM round as a task of the RL loop."""

    recorder: Recorder
    pi: Policy
    documents: Sequence[EncodedDocument]
    settings: EstepSettings
    update: UpdateSettings
    seed: int
    em_round: int = 0
    view: View = lambda document, seed: document
    """What rollouts see in place of a document."""
    judge: Literal["frozen", "self"] = "frozen"
    """Whose likelihood is the reward: that of the frozen pi, or of the policy that learns."""
    stage = "estep"

    def __post_init__(self):
        own, self.name = self.settings, f"estep-{self.em_round}"
        self.learning_rate, self.num_steps = own.learning_rate, num_updates(own, len(self.documents))
        self.loss = PolicyLoss(clip_low=own.clip[0], clip_high=own.clip[1])
        self.penalty = own.price(self.em_round)

    def items(self, step: int) -> list[EncodedDocument]:
        """The documents of one update."""
        share = max(1, math.ceil(self.settings.document_share * len(self.documents)))
        index = batch_of(share, self.settings.documents, step, derive(self.seed, "estep", self.em_round))
        chosen, place = [self.documents[i] for i in index], ("view", self.em_round, step)
        return [self.view(d, derive(self.seed, *place, d.id)) for d in chosen]

    def rollout(self, policy: Policy, items: Sequence[EncodedDocument], step: int) -> InterleavedRollouts:
        """Samples latents between the expert's steps."""
        group_size = self.settings.group_size
        with self.recorder.phase("rollouts"):
            rows = interleave(policy, items, group_size, self.rules(step), self.row_seeds(step, items))
            self.recorder.count(**sampling_cost(policy, rows))
        return InterleavedRollouts(rows, items, group_size)

    def reward(self, policy: Policy, rollouts: InterleavedRollouts) -> Tensor:
        """[B,S] log-likelihood of each step given its latents, less their price."""
        rollouts.pi_scores = scores = self._score(policy if self.judge == "self" else self.pi, rollouts.rows)
        rollouts.credit = estep_credit(rollouts.rows, policy.spaces, scores, self.settings, self.penalty)
        return rollouts.credit.reward

    def advantage(self, rollouts: InterleavedRollouts, reward: Tensor) -> Tensor:
        """[B,T] return over the horizon against the group's."""
        return rollouts.credit.advantage

    def metrics(self, policy: Policy, rollouts: InterleavedRollouts, reward: Tensor) -> dict[str, float]:
        """How much is thought, what it gained, and whether it copies the code."""
        numbers = latent_metrics(rollouts) | {"switch_penalty": self.penalty}
        plain = expert_rows(self.pi, rollouts.items, decisions=True)
        without = expert_nll(plain, self._score(self.pi, plain))
        given = expert_nll(rollouts.rows, rollouts.pi_scores)
        numbers |= {"expert_nll": given, "expert_nll_act": without, "latent_gain": without - given}
        return numbers | copy_rates(policy, rollouts.rows, rollouts.items, rollouts.group_size)

    def rules(self, step: int) -> LatentRules:
        """Sampling rules of one update: the floor holds for the first updates alone; c = inf never thinks."""
        least, updates = self.settings.think_floor or (0.0, 0)
        floor = least if step < updates else 0.0
        return LatentRules(self.settings.max_latent_tokens, floor, think=math.isfinite(self.settings.switch_penalty))

    def row_seeds(self, step: int, documents: Sequence[EncodedDocument]) -> list[int]:
        """One seed for each rollout."""
        samples, place = range(self.settings.group_size), ("estep", self.em_round, step)
        return [derive(self.seed, *place, d.id, sample) for d in documents for sample in samples]

    def _score(self, policy: Policy, rows: Rows) -> TokenScores:
        """Scores of the expert's steps, booked."""
        with self.recorder.phase("scoring", **scoring_cost(policy, rows, rows.expert)):
            return score(policy, rows, rows.expert, self.update.micro_batch_tokens)


def num_updates(settings: EstepSettings, num_documents: int) -> int:
    """Updates of a round over D documents: as set, or max(8, ceil(0.4 D / (documents * group_size)))."""
    share = math.ceil(0.4 * num_documents / (settings.documents * settings.group_size))  # of what the M-step costs
    return max(8, share) if settings.updates is None else settings.updates


def latent_metrics(rollouts: InterleavedRollouts) -> dict[str, float]:
    """How much is thought, how long it lasts, and what it earned."""
    rows, credit, boundaries = rollouts.rows, rollouts.credit, rollouts.credit.boundaries
    decided, thinks = boundaries.decided.sum(), boundaries.think.sum()
    words = rows.words.sum()
    dead = dead_groups(rollouts.grouped(credit.returns), rollouts.grouped(boundaries.decided))
    return {
        "think_rate": _ratio(thinks, decided),
        "option_duration": _ratio(boundaries.exists.sum(), thinks + len(rows)),
        "comment_tokens": _ratio(words - thinks + boundaries.unclosed.sum(), thinks),
        "reward": _ratio(credit.reward.sum(), boundaries.exists.sum()),
        "return": _ratio((credit.returns * boundaries.decided).sum(), decided),
        "elbo": float((credit.likelihood - credit.cost).sum(1).mean()),
        "dead_groups": float(dead.float().mean()),
        "tokens_generated": float(words + thinks),
    }


def expert_nll(rows: Rows, scores: TokenScores) -> float:
    """Nats per expert token, given the latents written before it."""
    return -float(step_logp(scores.logp, scores.logp_action, rows).sum() / rows.expert.sum())


def copy_rates(policy: Policy, rows: Rows, documents: Sequence[EncodedDocument], group_size: int) -> dict[str, float]:
    """Shares of the comments that repeat the line they precede, and the line before it (`repeats`)."""
    copies, echoes, comments = 0, 0, 0
    words = rows.words
    for r in words.any(1).nonzero()[:, 0].tolist():
        steps = documents[r // group_size].step_ids
        for t in rows.step[r][words[r]].unique().tolist():
            written = rows.ids[r][words[r] & (rows.step[r] == t)].tolist()
            said = [w for w in written if policy.token_text(w).strip()]
            comments += 1
            copies += repeats(said, steps[t])
            echoes += t > 0 and repeats(said, steps[t - 1])
    return {"copy_rate": copies / max(comments, 1), "echo_rate": echoes / max(comments, 1)}


def repeats(words: Sequence[int], line: Sequence[int]) -> bool:
    """Whether at least 4/5 of the words stand in the line as one run."""
    run = SequenceMatcher(None, words, line, autojunk=False).find_longest_match()
    return len(words) > 0 and run.size >= 0.8 * len(words)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) else 0.0
