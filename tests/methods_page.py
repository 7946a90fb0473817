"""The tables of docs/methods.md, made of the docstrings of ra3/rl/methods in their place:

.venv/bin/python tests/methods_page.py
"""

import inspect
import re
import sys
from pathlib import Path

from ra3.rl.methods import KINDS
from ra3.rl.reference import AnswerQuestions
from ra3.rl.solve import SolveProblems

PAGE = Path(__file__).parent.parent / "docs/methods.md"
BEGIN, END = "<!-- tables: tests/methods_page.py -->\n", "<!-- end of tables -->\n"
HEAD = "\n### {}\n\n| Method | Equation | Ours | Replaces |\n|---|---|---|---|\n"
SEAMS = "items", "rollout", "reward", "advantage", "select"
TITLE = re.compile(r"(.+?) \((?:.+, )?arXiv (\d{4}\.\d{5})\)")


def row(kind: type[SolveProblems]) -> str:
    """The row of a method."""
    module = sys.modules[kind.__module__]
    title, equation, *text = inspect.cleandoc(module.__doc__ or "").split("\n\n")
    what = TITLE.sub(r"[\1](https://arxiv.org/abs/\2)", title.replace("\n", " "), count=1)
    lines = [f"`{' '.join(line.split())}`" for line in equation.splitlines() if line.strip()]
    ours = " ".join(text).replace("\n", " ").partition("Ours: ")[2] or "-"
    name = f"`{kind.__module__.rpartition('.')[2]}`"
    cells = name, what, "<br>".join(lines), ours, ", ".join(replaced(kind))
    return "| {}: {} | {} | {} | {} |\n".format(*(cell.replace("|", "∣") for cell in cells))


def replaced(kind: type[SolveProblems]) -> list[str]:
    """The seams of the loop at which a method stands."""
    own = [each for each in kind.__mro__ if each not in AnswerQuestions.__mro__]
    found = [seam for seam in SEAMS if any(seam in vars(each) for each in own)]
    changes_loss = any("replace(self.loss" in inspect.getsource(each) for each in own)
    return found + ["loss"] * changes_loss + ["start"] * (not found and not changes_loss)


def methods_page(page: str) -> str:
    """The page with its tables made again."""
    tables = "".join(HEAD.format(name) + "".join(map(row, kinds)) for name, kinds in KINDS.items())
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + tables + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(methods_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
