"""RLPR (arXiv 2506.18254): the mean probability of the reference's tokens, less what it is without any reasoning.

    R = clip( 1/|a*| sum_t pi(a*_t | x, z, a*_<t) - 1/|a*| sum_t pi(a*_t | x, a*_<t), 0, 1 )

A problem whose rewards have a standard deviation below s/2 teaches nothing, s being its running mean over the steps
(0.99 of what it was). Ours: the half; the reasoning ends at the cue, where the paper samples an answer, too, and
learns from that.
"""

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.reference import AnsweredQuestions, AnswerQuestions, answer_tokens, without_reasoning
from ra3.rl.solve import Memory

DECAY, LEAST = 0.99, 0.5


class Rlpr(AnswerQuestions):
    """What reasoning adds to the likelihood, as reward."""

    def __post_init__(self):
        super().__post_init__()
        self.memory = Memory()

    def reward(self, policy: Policy, rollouts: AnsweredQuestions) -> Tensor:
        """[B] the equation above."""
        bare = without_reasoning(policy, rollouts)
        places = (rollouts.rows, rollouts.answers), (bare, answer_tokens(bare))
        with_it, without = (mean_probability(self.reference_logp(policy, *own), own[1]) for own in places)
        return (rollouts.grouped(with_it) - without[:, None]).clamp(0, 1).flatten()

    def advantage(self, rollouts: AnsweredQuestions, reward: Tensor) -> Tensor:
        """[B,T] each reward against the others', 0 where they hardly differ."""
        spread = rollouts.grouped(reward).std(1, correction=0)
        mean = float(spread.mean())
        running = self.memory["spread"] = DECAY * self.memory.get("spread", mean) + (1 - DECAY) * mean
        kept = (spread >= LEAST * running).repeat_interleave(rollouts.group_size)
        return super().advantage(rollouts, reward) * kept[:, None]


def mean_probability(logp: Tensor, answers: Tensor) -> Tensor:
    """[B] mean of exp(logp) over the tokens in `answers` [B,T]."""
    return (logp.exp() * answers).sum(1) / answers.sum(1).clamp(min=1)
