"""Programs: problems as prompts in token ids, completions in text, and what the sandbox says of them.

A comment is part of a program, and does nothing there. A latent that a special token opens is none of it: it is found
in the ids, and taken out before the program is run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ra3.data.latents import COMMENT_OPENER, decode
from ra3.grading.grade import Grader, Verdict
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rollout.generate import SamplingParams, generate
from ra3.rows import CONTEXT, Rows


@dataclass(frozen=True)
class Programs:
    """Completions of problems, which a grader is at work on, in the order of the rows."""

    rows: Rows
    completions: list[Completion]
    pending: list[tuple[list[int], Future[list[Verdict]]]]
    """(rows, their verdicts to come) of what was handed in together."""

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """[B] the verdicts on all rows, after waiting for those to come."""
        found = {r: verdict for rows, future in self.pending for r, verdict in zip(rows, future.result(), strict=True)}
        return [found[r] for r in range(len(self.rows))]


def write_programs(
    policy: Policy, problems: Sequence[Problem], samples: int, params: SamplingParams, seeds: Sequence[int],
    grader: Grader,
) -> Programs:  # fmt: skip
    """Samples `samples` completions of every problem, row p * samples + i the i-th of problem p; each has a seed.

    Those that are finished are graded while the others are still being written.
    """
    prompts, found, pending = encode_prompts(policy, problems), dict[int, Completion](), []

    def hand_in(written: dict[int, list[int]]) -> None:
        for r, ids in written.items():
            found[r] = completion(policy, prompts[r // samples], ids, params.stop)
        verdicts = grader.submit([(problems[r // samples], found[r].program) for r in written])
        pending.append((list(written), verdicts))

    rows = generate(policy, prompts, samples, params, seeds, on_finished=hand_in)
    return Programs(rows, [found[r] for r in range(len(rows))], pending)


def encode_prompts(policy: Policy, problems: Sequence[Problem]) -> list[list[int]]:
    """Tokenises each prompt line by line, as documents are; an empty one has no tokens."""
    lines = [problem.prompt.splitlines(keepends=True) for problem in problems]
    flat = [line for own in lines for line in own]
    pieces = iter(policy.tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
    return [[token for _ in own for token in next(pieces)] for own in lines]


def beyond_positions(policy: Policy, problems: Sequence[Problem], new_tokens: int) -> dict[str, str]:
    """{problem: why} of those whose prompt and a completion of `new_tokens` are longer than the model reads."""
    room = (policy.positions or sys.maxsize) - new_tokens
    prompts = zip(problems, encode_prompts(policy, problems), strict=True)
    long = {problem.id: 1 + len(ids) for problem, ids in prompts if 1 + len(ids) > room}
    why = f"tokens and {new_tokens} more are over {policy.positions} positions"
    return {name: f"its prompt of {length} {why}" for name, length in long.items()}


class Completion(NamedTuple):
    """What a model wrote: ``Completion("    return x\\n", "# give it back\\n    return x\\n")``."""

    program: str
    """What is run."""
    reply: str
    """The same to be read: latents that a special token opened stand in it as comments."""


def completions(policy: Policy, rows: Rows, stop: Sequence[str]) -> list[Completion]:
    """What each row generated, up to the end of text or the first stop string."""
    prompts = (rows.step == CONTEXT) & rows.valid
    own = [(rows.ids[r, 1:], prompts[r, 1:], rows.action_mask[r, 1:]) for r in range(len(rows))]
    return [completion(policy, ids[prompt].tolist(), ids[chosen].tolist(), stop) for ids, prompt, chosen in own]


def completion(policy: Policy, prompt: Sequence[int], ids: Sequence[int], stop: Sequence[str]) -> Completion:
    """What the generated `ids` say after the ids of a prompt, up to the end of text or the first stop string."""
    ids = [i for i in ids if i != policy.end_id]
    starts_line = not prompt or policy.token_text(prompt[-1]).endswith("\n")
    apart = policy.syntax.opener != COMMENT_OPENER  # a comment may stay where it is
    program = reply = ""
    for is_latent, run in latent_runs(policy, ids, starts_line) if apart else [(False, ids)]:
        text = decode(policy.tokenizer, run)
        program += text.partition("\n")[2] if is_latent else text  # its last token may hold more than the newline
        reply += policy.syntax.comment(policy.tokenizer, run) if is_latent else text
    return Completion(before_stop(program, stop), before_stop(reply, stop))


def completion_of_text(text: str, opener: str) -> Completion:
    """The completion in text from elsewhere, in which a special token is spelled out."""
    if opener == COMMENT_OPENER:
        return Completion(text, text)
    lines = re.compile(rf"^{re.escape(opener)}(.*\n?)", re.MULTILINE)
    return Completion(lines.sub("", text), lines.sub(rf"{COMMENT_OPENER}\1", text))


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop strings; a stop string that begins with a newline leaves that newline."""
    ends = [text.index(s) + s.startswith("\n") for s in stop if s in text]
    return text[: min(ends)] if ends else text


def latent_runs(policy: Policy, ids: Sequence[int], starts_line: bool) -> Iterator[tuple[bool, list[int]]]:
    """The ids in runs, and whether each is a latent: from an opener at the start of a line to the line's end."""
    run, inside = [], False
    for token in ids:
        if starts_line and token == policy.syntax.think_id:
            yield False, run
            run, inside = [], True
        run.append(token)
        text = policy.token_text(token)
        starts_line = text.endswith("\n")
        if inside and "\n" in text:
            yield True, run
            run, inside = [], False
    yield inside, run
