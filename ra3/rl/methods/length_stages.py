"""Stages of length (AceReason-Nemotron, arXiv 2505.16400): programs may be longer from stage to stage.

    longest program of stage s = s / 4 of the longest there may be,   s = 1 + floor(4 step / steps)

of `rlvr.max_new_tokens`, as the paper goes from 8,192 to 32,768 tokens; its policy takes one update on each batch, as
`rlvr.epochs = 1` does. In the last stage it is the default. Ours: stages of equal length; the paper's order of problems
is left to the file of problems.
"""

from ra3.grading.problems import Problem
from ra3.rl.solve import SolveProblems

STAGES = 4


class LengthStages(SolveProblems):
    """RLVR with more and more room."""

    def __post_init__(self):
        super().__post_init__()
        self.whole = self.settings

    def items(self, step: int) -> list[Problem]:
        """The next problems, whose programs may be as long as the stage says."""
        stage = 1 + STAGES * step // self.num_steps
        longest = -(-self.whole.max_new_tokens * stage // STAGES)
        self.settings = self.whole.model_copy(update={"max_new_tokens": longest})
        return super().items(step)
