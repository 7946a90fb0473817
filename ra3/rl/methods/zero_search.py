"""ZeroSearch (arXiv 2505.04588): searches find worse and worse documents while the policy learns.

    a search finds noise with probability p_i = p_s + (b^(i/m) - 1) / (b - 1) (p_e - p_s),   p_s = 0, p_e = 1/2, b = 4

in update i of m. Ours: documents are those of the problem in the place of a simulating model's, noise is any of them
but those that fit best; p_e is for want of the paper's.
"""

from functools import partial
from random import Random

from ra3.environments import Environment
from ra3.environments.tools import Runner
from ra3.grading.problems import Problem
from ra3.rl.solve import SolveProblems
from ra3.seeds import derive

START, END, BASE = 0.0, 0.5, 4.0


class ZeroSearch(SolveProblems):
    """RLVR with searches that get harder."""

    def items(self, step: int) -> list[Problem]:
        """The next problems; searches are as bad as the step says."""
        share = noise(step / max(1, self.num_steps - 1))
        self.environment = partial(NoisySearch, share, derive(self.seed, "zero-search", step))
        return super().items(step)


def noise(progress: float) -> float:
    """The probability of noise after this share of the updates: 0 at first, 1/6 half way, 1/2 in the end."""
    return START + (BASE**progress - 1) / (BASE - 1) * (END - START)


class NoisySearch(Environment):
    """Tools of which a search finds other documents with this probability, drawn by episode and turn."""

    def __init__(self, share: float, seed: int, run: Runner):
        super().__init__(run)
        self.share, self.seed = share, seed

    def search(self, episode: int, query: str) -> list[str]:
        """Return the documents that fit best, or as many others."""
        found = super().search(episode, query)
        random = Random(derive(self.seed, episode, self.turns[episode]))
        others = [text for text in self.problems[episode].documents if text not in found]
        is_noise = random.random() < self.share
        return random.sample(others, min(len(found), len(others))) if is_noise and others else found
