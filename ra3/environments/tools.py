"""Episodes with tools: a turn that ends in a call goes on behind what came back.

    <python>print(17 + 12)</python>     <output>29</output>                          the program ran, and printed this
    <search>Ann cups</search>           <information>Ann has 17 cups.</information>  the documents that fit best
    a call that fails                   <error>NameError</error>                     why

A call ends a turn with its closing tag; what is called stands behind the last opening tag before it. A program is run
by itself in the sandbox, as a script without input: it knows nothing of earlier ones, and only what it prints comes
back. What a tool gives is text, whatever tags stand in it. An episode is over with a turn that calls nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from textwrap import dedent

from ra3.environments.search import Search
from ra3.grading.problems import Problem
from ra3.grading.replies import fenced_program
from ra3.sandbox import Job, Outcome

MAX_TURNS, MAX_CHARACTERS, MAX_DOCUMENTS = 8, 2000, 3
"""Of an episode; of what comes back; found by a search. ``meta`` of a problem may say otherwise, by these names in
small letters."""
ERROR = "\n<error>"
"""With what begins that came back of a call that failed."""
Runner = Callable[[list[Job]], list[Outcome]]
"""Runs programs, as a sandbox does."""


class Environment:
    """Episodes for problems, all under way together.

    Example::

        environment.reset([problem])                                  # [problem.prompt]
        environment.step({0: "<python>print(17 + 12)</python>"})      # {0: "\\n<output>29</output>"}
        environment.step({0: "<answer>29</answer>"})                  # {}: no call, so the episode is over
    """

    def __init__(self, run: Runner):
        self.run = run

    def reset(self, problems: Sequence[Problem]) -> list[str]:
        """Begin an episode for each problem; return what is read first."""
        self.problems, self.turns = problems, [0] * len(problems)
        return [problem.prompt for problem in problems]

    def step(self, turns: Mapping[int, str]) -> dict[int, str | None]:
        """Take a turn of some episodes, as text; return what came back to those that called a tool, None where there
        are no more turns for it."""
        came, programs = dict[int, str | None](), dict[int, Job]()
        for episode, text in turns.items():
            problem, call = self.problems[episode], called(self.problems[episode], text)
            self.turns[episode] += 1
            if not call:
                continue
            tool, what = call
            if self.turns[episode] >= problem.meta.get("max_turns", MAX_TURNS):
                came[episode] = None
            elif what is None:
                came[episode] = f"{ERROR}a call without <{tool}></error>"
            elif tool == "search":
                found = "\n".join(self.search(episode, what))
                came[episode] = f"\n<information>{found[: most_characters(problem)]}</information>"
            else:
                programs[episode] = Job.stdio(fenced_program(dedent(what).strip()), "")
        distinct = list(dict.fromkeys(programs.values()))
        outcomes = dict(zip(distinct, self.run(distinct) if distinct else [], strict=True))
        printed = ((n, tool_output(outcomes[job], most_characters(self.problems[n]))) for n, job in programs.items())
        return came | dict(printed)

    def search(self, episode: int, query: str) -> list[str]:
        """Return the documents that fit a query best, of those that the episode may search."""
        problem = self.problems[episode]
        return index(problem.documents).best(query, problem.meta.get("max_documents", MAX_DOCUMENTS))


@lru_cache(maxsize=256)
def index(documents: tuple[str, ...]) -> Search:
    """Return the index of a corpus, made once for all problems that share it."""
    return Search(documents)


def call_ends(problem: Problem) -> tuple[str, ...]:
    """Return the tags with which calls end, and turns with them."""
    return tuple(f"</{tool}>" for tool in problem.tools)


def called(problem: Problem, turn: str) -> tuple[str, str | None] | None:
    """Return the tool that a turn calls and what with, None where that does not begin; None where it calls nothing."""
    for tool in problem.tools:
        before, closed, _ = turn.rpartition(f"</{tool}>")
        if closed:
            _, opened, what = before.rpartition(f"<{tool}>")
            return tool, what if opened else None
    return None


def most_characters(problem: Problem) -> int:
    """Return how long what comes back may be."""
    return problem.meta.get("max_characters", MAX_CHARACTERS)


def tool_output(outcome: Outcome, most: int) -> str:
    """Return what comes back of a program that was run, at most so many characters of its output."""
    if outcome.fault:
        return f"{ERROR}{outcome.fault.removeprefix('error:')}</error>"
    text = outcome.stdout.decode("utf-8", "replace").strip("\n")
    return f"\n<output>{text[:most]}</output>"
