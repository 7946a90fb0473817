"""Reward from likelihood: how probable the reference answer is under the policy, after its own reasoning.

    r = pi(a* | x, z, cue),   z ~ pi(. | x) up to the cue or the end of the text

The policy reasons and is not asked for the answer: cue and reference are written behind z, and scored. So the mean of
r is the probability that it answers to the character, with less variance than tries have (VeriFree, arXiv 2505.21493).
No test runs. The rows of a problem are scored together, and what they begin with in common is read once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.data.tokens import decode, token_ids
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.advantages import dead_groups
from ra3.rl.loop import Rollouts
from ra3.rl.solve import SolveProblems
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.programs import encode_prompts
from ra3.rows import RowBuilder, Rows, build
from ra3.seeds import derive

REASONING, ANSWER = 0, 1
"""`step` of the tokens of the reasoning and the cue, and of the reference."""


@dataclass
class AnsweredQuestions(Rollouts):
    """Reasoning for problems, with cue and reference behind it."""

    sampled: Rows
    """The reasoning as it was sampled."""

    @property
    def answers(self) -> Tensor:
        """[B,T] bool, tokens of the references."""
        return answer_tokens(self.rows)

    @property
    def counted(self) -> Tensor:
        """[P,G] bool; all count."""
        return self.grouped(torch.ones(len(self.rows), dtype=torch.bool))


class AnswerQuestions(SolveProblems):
    """RLVR with the likelihood of the reference in the place of tests."""

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> AnsweredQuestions:
        """Reasoning up to the cue, and the reference behind it."""
        own = self.settings
        params, stops = SamplingParams(own.max_new_tokens, own.temperature), [(p.cue, *p.stop) for p in items]
        seeds = [derive(self.seed, "rlvr", step, problem.id, n) for problem in items for n in range(own.samples)]
        with self.recorder.phase("rollouts"):
            sampled = generate(policy, encode_prompts(policy, items), own.samples, params, seeds, stops=stops)
            self.recorder.count(**sampling_cost(policy, sampled))
        return AnsweredQuestions(answered(policy, sampled, items), items, own.samples, sampled)

    def reward(self, policy: Policy, rollouts: AnsweredQuestions) -> Tensor:
        """[B] the probability of the reference."""
        return self.reference_logp(policy, rollouts.rows, rollouts.answers).sum(1).exp()

    def reference_logp(self, policy: Policy, rows: Rows, answers: Tensor) -> Tensor:
        """[B,T] log-probabilities of the tokens in `answers`, 0 elsewhere."""
        with self.recorder.phase("scoring", **scoring_cost(policy, rows, answers)):
            scores = score(policy, rows, answers, self.update.micro_batch_tokens)
        return torch.where(answers, scores.logp, 0.0)

    def metrics(self, policy: Policy, rollouts: AnsweredQuestions, reward: Tensor) -> dict[str, float]:
        """What the references earned."""
        dead = dead_groups(rollouts.grouped(reward), rollouts.counted)
        return {
            "reward": float(reward.mean()),
            "truncated": float((~rollouts.sampled.finished).float().mean()),
            "tokens_generated": float(rollouts.sampled.action_mask.sum()),
            "dead_groups": float(dead.float().mean()),
        }

    def notes(self, rollouts: AnsweredQuestions) -> list[str]:
        """Nothing was judged."""
        return []


def answered(policy: Policy, sampled: Rows, problems: Sequence[Problem]) -> Rows:
    """The sampled reasoning with cue and reference behind it; what stands behind the cue of a token that goes beyond it
    is taken back, and so is an end of text."""
    references = token_ids(policy.tokenizer, [problem.reference for problem in problems])
    builders, samples = list[RowBuilder](), len(sampled) // len(problems)
    for r in range(len(sampled)):
        problem, chosen = problems[r // samples], sampled.action_mask[r].nonzero()[:, 0].tolist()
        kept, forced = up_to_cue(policy, [int(sampled.ids[r, t]) for t in chosen], problem.cue)
        row = RowBuilder.start(int(sampled.group[r]), sampled.ids[r, : chosen[0]].tolist())
        for t in chosen[:kept]:
            scores = (float(values[r, t]) for values in (sampled.logp, sampled.logp_old, sampled.importance))
            row.append(int(sampled.ids[r, t]), REASONING, int(sampled.action_space[r, t]), *scores)
        row.force(forced, REASONING, [0.0] * len(forced))
        row.force(references[r // samples], ANSWER, [0.0] * len(references[r // samples]))
        row.finished = bool(sampled.finished[r])
        builders.append(row)
    return build(builders)


def without_reasoning(policy: Policy, rollouts: AnsweredQuestions) -> Rows:
    """Cue and reference right behind the prompt, a row for each problem."""
    builders = list[RowBuilder]()
    for p, problem in enumerate(rollouts.items):
        r = p * rollouts.group_size
        row = RowBuilder.start(
            p, rollouts.sampled.ids[r, : int(rollouts.sampled.action_mask[r].nonzero()[0, 0])].tolist()
        )
        texts = [problem.cue, problem.reference]
        for ids, step in zip(token_ids(policy.tokenizer, texts), (REASONING, ANSWER), strict=True):
            row.force(ids, step, [0.0] * len(ids))
        builders.append(row)
    return build(builders)


def answer_tokens(rows: Rows) -> Tensor:
    """[B,T] bool, tokens of the references."""
    return rows.valid & (rows.step == ANSWER)


def up_to_cue(policy: Policy, ids: Sequence[int], cue: str) -> tuple[int, list[int]]:
    """(how many of the sampled `ids` stand before the end of the cue, the ids of what is missing up to there)."""
    ids = [i for i in ids if i not in policy.end_ids]
    text = decode(policy.tokenizer, ids)
    before, found, _ = text.partition(cue)
    wanted = before + cue
    kept = bisect_right(range(len(ids) + 1), len(wanted), key=lambda n: len(decode(policy.tokenizer, ids[:n]))) - 1
    missing = wanted[len(decode(policy.tokenizer, ids[:kept])) :]
    return kept, token_ids(policy.tokenizer, [missing])[0] if missing else []


def longest_reference(policy: Policy, problems: Sequence[Problem]) -> int:
    """Tokens of the longest cue and reference, which stand behind the reasoning."""
    texts = [text for problem in problems for text in (problem.cue, problem.reference)]
    lengths = [len(ids) for ids in token_ids(policy.tokenizer, texts)]
    return max(map(sum, zip(lengths[::2], lengths[1::2], strict=True)))
