"""Verdicts: the one path for rewards and for evaluation. A program is right if every test gave what was expected."""

from collections.abc import Iterable
from dataclasses import dataclass

from ra3.problems import CallTest, Problem, StdioTest, program
from ra3.sandbox.compare import same_output, same_value
from ra3.sandbox.jobs import DEFAULT_OUTPUT, Job, Outcome, Result, encode_inputs, encode_strictly
from ra3.sandbox.pool import Sandbox


@dataclass(frozen=True)
class Verdict:
    """Whether a program solved its problem.

    Example: ``Verdict(False, "error:IndexError", 0.004)``
    """

    passed: bool | None
    """None: our own machinery failed (``infra``); such a sample is left out and counted, neither right nor wrong."""
    reason: str
    """passed, wrong_answer, error:NAME, timeout, memory, syntax, missing_entry_point, output_cap or infra."""
    cpu_s: float
    """CPU seconds of all its runs."""


class Exam:
    """A problem's tests in the form in which they are sent and compared, made once for all its answers."""

    def __init__(self, problem: Problem):
        self.problem, self.loose = problem, problem.meta.get("numbers") == "loose"
        calls = [test for test in problem.tests if isinstance(test, CallTest)]
        self.scripts = [test for test in problem.tests if isinstance(test, StdioTest)]
        self.inputs = encode_inputs(test.args for test in calls)
        self.expected = [encode_strictly(test.expected) for test in calls]
        self.max_output = max(DEFAULT_OUTPUT, 4 * sum(len(value) + 16 for value in self.expected))

    def jobs(self, source: str) -> list[Job]:
        """One job for all calls, or one per stdin."""
        if not self.scripts:
            tests = len(self.expected)
            return [Job("call", source, self.problem.entry_point, self.inputs, tests, self.max_output)]
        caps = [max(DEFAULT_OUTPUT, 4 * len(test.expected_stdout)) for test in self.scripts]
        return [Job.stdio(source, test.stdin, cap) for test, cap in zip(self.scripts, caps, strict=True)]

    def verdict(self, outcomes: list[Outcome]) -> Verdict:
        """The first test that fails decides the reason; a script's later runs may be missing after a failed one."""
        judge = self._judge_scripts if self.scripts else self._judge_calls
        reason = judge(outcomes)
        passed = None if reason == "infra" else reason == "passed"
        return Verdict(passed, reason, sum(outcome.cpu_s for outcome in outcomes))

    def _judge_calls(self, outcomes: list[Outcome]) -> str:
        outcome = outcomes[0]
        if outcome.fault == "infra":
            return "infra"
        for expected, result in zip(self.expected, outcome.results, strict=False):
            if (reason := self._judge_result(expected, result)) != "passed":
                return reason
        if outcome.fault:
            return outcome.fault
        return "passed" if len(outcome.results) == len(self.expected) else "error:ProtocolError"

    def _judge_result(self, expected: bytes, result: Result) -> str:
        if result.error:
            return "memory" if result.error == "MemoryError" else f"error:{result.error}"
        return "passed" if same_value(expected, result.data, self.loose) else "wrong_answer"

    def _judge_scripts(self, outcomes: list[Outcome]) -> str:
        for test, outcome in zip(self.scripts, outcomes, strict=False):
            if outcome.fault:
                return outcome.fault
            if not same_output(test.expected_stdout, outcome.stdout, self.loose):
                return "wrong_answer"
        return "passed" if len(outcomes) == len(self.scripts) else "infra"


def grade(sandbox: Sandbox, attempts: Iterable[tuple[Problem, str]]) -> list[Verdict]:
    """The verdict on every (problem, completion), in order. Equal jobs run once.

    Scripts are run on their first stdin; only those that pass it are run on the others.
    """
    attempts = list(attempts)
    exams = {id(problem): Exam(problem) for problem, _ in attempts}
    papers = [(exams[id(problem)], exams[id(problem)].jobs(program(problem, text))) for problem, text in attempts]
    known: dict[Job, Outcome] = {}
    _run(sandbox, [jobs[0] for _, jobs in papers], known)
    passed_first = [jobs for exam, jobs in papers if len(jobs) > 1 and exam.verdict([known[jobs[0]]]).reason == "infra"]
    _run(sandbox, [job for jobs in passed_first for job in jobs[1:]], known)
    return [exam.verdict([known[job] for job in jobs if job in known]) for exam, jobs in papers]


def _run(sandbox: Sandbox, jobs: list[Job], known: dict[Job, Outcome]):
    """Run each distinct job whose outcome is not yet known."""
    fresh = [job for job in dict.fromkeys(jobs) if job not in known]
    known.update(zip(fresh, sandbox.run(fresh), strict=True))
