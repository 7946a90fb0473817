"""Programs: problems as prompts in token ids, completions in text, and what the sandbox says of them.

A prompt is read without the white space at its end. A tokenizer writes a line break and the indentation after it as one
token, so that a prompt that ends in the one alone says that the other does not follow; what is left out the model
writes itself. A comment is part of a program, and does nothing there. A latent that a special token opens is none of
it: it is found in the ids, and taken out before the program is run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ra3 import ranks
from ra3.data.latents import COMMENT_OPENER
from ra3.data.tokens import WHITE, decode, token_ids
from ra3.environments.tools import Environment, Runner
from ra3.grading.grade import Grader, Verdict
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rollout.generate import Companion, SamplingParams, generate
from ra3.rollout.turns import play
from ra3.rows import CONTEXT, Rows


@dataclass(frozen=True)
class Programs:
    """Completions of problems, which a grader is at work on, in the order of the rows."""

    rows: Rows
    completions: list[Completion]
    pending: list[tuple[list[int], Future[list[Verdict]]]]
    """(rows, their verdicts to come) of what this rank handed in together."""

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """[B] the verdicts on all rows, after waiting for those to come."""
        own = {r: verdict for rows, future in self.pending for r, verdict in zip(rows, future.result(), strict=True)}
        found = {r: verdict for told in ranks.from_all(own) for r, verdict in told.items()}
        return [found[r] for r in range(len(self.rows))]


def write_programs(
    policy: Policy, problems: Sequence[Problem], samples: int, params: SamplingParams, seeds: Sequence[int],
    grader: Grader, put: Sequence[Problem] | None = None, begun: Sequence[Sequence[int]] | None = None,
    companion: Companion | None = None, environment: Callable[[Runner], Environment] = Environment,
) -> Programs:  # fmt: skip
    """Samples `samples` completions of every problem, row p * samples + i the i-th of problem p; each has a seed.

    Each ends before a stop string of its problem; those that have are graded while others are still being written.
    `put`: problems whose prompts are read in the place of theirs; `begun`: the ids that the completions of each begin
    with. Where problems have tools, a completion is what was written in the last turn of an episode in the
    `environment`.
    """
    prompts, found, pending = encode_prompts(policy, put or problems), dict[int, Completion](), []
    begun, stops = begun or [()] * len(problems), [problem.stop for problem in problems]

    def read(r: int, ids: list[int]) -> Completion:
        own = completion(policy, prompts[r // samples], [*begun[r // samples], *ids], stops[r // samples])
        return own if _is_chat(policy, problem := problems[r // samples]) else own.behind(problem.prompt)

    def hand_in(written: dict[int, list[int]]) -> None:
        found.update({r: read(r, ids) for r, ids in written.items()})
        verdicts = grader.submit([(problems[r // samples], found[r].program) for r in written])
        pending.append((list(written), verdicts))

    if any(problem.tools for problem in problems):
        assert not any(begun) and not companion, "problems with tools are solved from their beginning, alone"
        own = environment(grader.run), lambda before, ids: completion(policy, before, ids, ()).program
        rows = play(policy, problems, prompts, samples, params, seeds, *own, hand_in)
    else:
        rows = generate(policy, prompts, samples, params, seeds, None, hand_in, stops, begun, companion)
    written = [found.get(r) or read(r, rows.last_turn(r)) for r in range(len(rows))]
    return Programs(rows, written, pending)


def encode_prompts(policy: Policy, problems: Sequence[Problem]) -> list[list[int]]:
    """The ids of each prompt as text of a document, without the white space at its end; of one that asks for a reply as
    a message in the chat template, where the policy has one."""
    texts = [chat_text(policy, p.prompt) if _is_chat(policy, p) else p.prompt.rstrip(WHITE) for p in problems]
    return token_ids(policy.tokenizer, texts)


def chat_text(policy: Policy, message: str) -> str:
    """A user's message in the chat template, up to where the reply begins, without what opens every sequence anyway."""
    messages = [{"role": "user", "content": message}]
    text = policy.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text.removeprefix(decode(policy.tokenizer, policy.start_ids))


def _is_chat(policy: Policy, problem: Problem) -> bool:
    return policy.chats and problem.answer != "completion"


def beyond_positions(policy: Policy, problems: Sequence[Problem], new_tokens: int) -> dict[str, str]:
    """{problem: why} of those whose prompt and a completion of `new_tokens` are longer than the model reads."""
    room = (policy.positions or sys.maxsize) - new_tokens
    prompts = zip(problems, encode_prompts(policy, problems), strict=True)
    lengths = {problem.id: len(policy.start_ids) + len(ids) for problem, ids in prompts}
    long = {name: length for name, length in lengths.items() if length > room}
    why = f"tokens and {new_tokens} more are over {policy.positions} positions"
    return {name: f"its prompt of {length} {why}" for name, length in long.items()}


class Completion(NamedTuple):
    """What a model wrote: ``Completion("    return x\\n", "# give it back\\n    return x\\n")``."""

    program: str
    """What is run."""
    reply: str
    """The same to be read: latents that a special token opened stand in it as comments."""

    def behind(self, prompt: str) -> Completion:
        """What was written after a prompt without the white space at its end, as what follows the whole of it."""
        white = prompt[len(prompt.rstrip(WHITE)) :]
        return Completion(self.program.removeprefix(white), self.reply.removeprefix(white))


def completions(policy: Policy, rows: Rows, stop: Sequence[str]) -> list[Completion]:
    """What each row generated, up to the end of text or the first stop string."""
    prompts = (rows.step == CONTEXT) & rows.valid
    own = [(rows.ids[r], prompts[r], rows.action_mask[r]) for r in range(len(rows))]
    return [completion(policy, ids[prompt].tolist(), ids[chosen].tolist(), stop) for ids, prompt, chosen in own]


def completion(policy: Policy, prompt: Sequence[int], ids: Sequence[int], stop: Sequence[str]) -> Completion:
    """What the generated `ids` say after the ids of a prompt, up to the end of text or the first stop string."""
    ids = [i for i in ids if i not in policy.end_ids]
    if policy.syntax.opener == COMMENT_OPENER:  # a comment may stay where it is
        text = before_stop(continued_text(policy, prompt, ids), stop)
        return Completion(text, text)
    program = reply = ""
    for is_latent, run in latent_runs(policy, prompt, ids):
        text = "".join(map(policy.token_text, run)) if is_latent else continued_text(policy, prompt, run)
        # the line on which a latent stands gives way to the line behind it, and so does its indentation
        program = program.rstrip(" \t\f") + text.partition("\n")[2] if is_latent else program + text
        reply += policy.syntax.comment(run) + text.partition("\n")[2] if is_latent else text
    return Completion(before_stop(program, stop), before_stop(reply, stop))


def continued_text(policy: Policy, before: Sequence[int], ids: Sequence[int]) -> str:
    """The text of ids where they stand behind others."""
    last = list(before[-1:])
    return decode(policy.tokenizer, [*last, *ids])[len(decode(policy.tokenizer, last)) :]


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


def line_so_far(policy: Policy, ids: Sequence[int]) -> str:
    """The end of the line on which ids end: white space alone where nothing stands on it yet."""
    return "".join(map(policy.token_text, ids[-8:])).rpartition("\n")[2]


def latent_runs(policy: Policy, prompt: Sequence[int], ids: Sequence[int]) -> Iterator[tuple[bool, list[int]]]:
    """The ids in runs, and whether each is a latent: from an opener in front of a line's text to the line's end, with
    the indentation behind it."""
    line, run, inside = line_so_far(policy, prompt), [], False
    for token in ids:
        text = policy.token_text(token)
        if not line.strip() and token in policy.syntax.think_ids:
            yield False, run
            run, inside = [], True
        run.append(token)
        line = text.rpartition("\n")[2] if "\n" in text else line + text
        if inside and "\n" in text:
            yield True, run
            run, inside = [], False
    yield inside, run
