"""Programs written and judged: the sandbox runs those that are finished while the others are still being written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ra3.grading.grade import Grader, Verdict
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rollout.completions import Completion, completion, encode_prompts
from ra3.rollout.generate import FreeRules, generate
from ra3.rows import Rows
from ra3.run.ledger import phase
from ra3.sandbox import Sandbox


@dataclass(frozen=True)
class Attempts:
    """Completions of problems and the verdicts on them, in the order of the rows."""

    rows: Rows
    completions: list[Completion]
    verdicts: list[Verdict]


def attempt(
    policy: Policy, problems: Sequence[Problem], samples: int, rules: FreeRules, seeds: Sequence[int], sandbox: Sandbox
) -> Attempts:
    """`samples` completions of every problem; row p * samples + i is the i-th of problem p, `seeds` one per row."""
    prompts, found, pending = encode_prompts(policy, problems), dict[int, Completion](), []
    with Grader(sandbox) as grader:

        def hand_in(written: dict[int, list[int]]) -> None:
            for r, ids in written.items():
                found[r] = completion(policy, prompts[r // samples], ids, rules.stop)
            verdicts = grader.submit([(problems[r // samples], found[r].program) for r in written])
            pending.append((list(written), verdicts))

        rows = generate(policy, prompts, samples, rules, seeds, ended=hand_in)
        return Attempts(rows, [found[r] for r in range(len(rows))], collected(pending))


@phase("grading")
def collected(pending: Iterable[tuple[list[int], Future[list[Verdict]]]]) -> list[Verdict]:
    """The verdicts on all rows, in their order; waits for those that are not there yet."""
    found = {r: verdict for rows, future in pending for r, verdict in zip(rows, future.result(), strict=True)}
    return [found[r] for r in sorted(found)]
