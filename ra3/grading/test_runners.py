"""How a problem's tests are run on a program: the jobs it needs run, and what their outcomes say of it.

A runner is made once for all answers to a problem. Its ``run(source)`` is a generator: it yields lists of jobs, is sent
their outcomes, and returns the reason of the verdict. A program fails by its first test that fails; only if none does
and one could not be judged, that is ``infra``.
"""

from collections.abc import Generator, Iterable
from dataclasses import replace

from ra3.grading.derivation import facts_by_name, solution, verdict
from ra3.grading.equality import Rule, same_value
from ra3.grading.problem_tests import CallTest, CheckedTest, DerivationTest, JudgeTest, StdioTest, raised
from ra3.grading.problems import Problem
from ra3.sandbox.jobs import DEFAULT_OUTPUT, Job, Outcome, Result, encode_inputs, encode_strictly

TestRun = Generator[list[Job], list[Outcome], str]


class CallRunner:
    """All calls in one job; the values are compared here."""

    def __init__(self, problem: Problem):
        tests = [test for test in problem.tests if isinstance(test, CallTest)]
        self.rule = Rule.of(problem.meta)
        self.expected = [encode_strictly(test.expected) for test in tests]
        max_output = max(DEFAULT_OUTPUT, 4 * sum(len(value) + 16 for value in self.expected))
        inputs = encode_inputs(test.args for test in tests)
        self.job = Job("call", "", problem.entry_point, inputs, len(tests), max_output, **_limits(problem))

    def run(self, source: str) -> TestRun:
        """Run one job."""
        (outcome,) = yield [replace(self.job, source=source)]
        if outcome.fault == "infra":
            return "infra"
        if (reason := _first_failure(map(self._reason, self.expected, outcome.results))) != "passed":
            return reason
        complete = len(outcome.results) == len(self.expected)
        return outcome.fault or ("passed" if complete else "error:ProtocolError")

    def _reason(self, expected: bytes, result: Result) -> str:
        if result.error:
            return raised(result.error)
        return "passed" if same_value(expected, result.data, self.rule) else "wrong_answer"


class JobPerTestRunner:
    """One job per test, the others only after the first is passed: most wrong programs fail it."""

    def __init__(self, problem: Problem):
        self.tests = [test for test in problem.tests if isinstance(test, StdioTest | CheckedTest | JudgeTest)]
        self.entry_point, self.rule, self.limits = problem.entry_point, Rule.of(problem.meta), _limits(problem)

    def run(self, source: str) -> TestRun:
        """Run the first test, then the rest; where a test has a checker, that too, once no program has failed."""
        for tests in filter(None, (self.tests[:1], self.tests[1:])):
            outcomes = yield [replace(test.job(source, self.entry_point), **self.limits) for test in tests]
            tried = zip(tests, outcomes, strict=True)
            reasons = [outcome.fault or test.reason(outcome, self.rule) for test, outcome in tried]
            checks = [reason for reason in reasons if isinstance(reason, Job)]
            if checks and _first_failure(reasons) in ("passed", "infra"):
                checked = iter((yield checks))
                reasons = [_checked(next(checked)) if isinstance(reason, Job) else reason for reason in reasons]
            if (reason := _first_failure(reasons)) != "passed":
                return reason
        return "passed"


def _checked(outcome: Outcome) -> str:
    """A checker says True; whatever else it says or does, the program is not paid."""
    if outcome.fault == "infra":
        return "infra"
    if outcome.fault or outcome.results[0].error:
        return "checker_failed"
    return "passed" if outcome.results[0].data == b"true" else "wrong_answer"


class DerivationRunner:
    """No job: the answer is read as text, in this process, and nothing of it is run."""

    def __init__(self, problem: Problem):
        tests = [test for test in problem.tests if isinstance(test, DerivationTest)]
        self.prompt, self.solutions = problem.prompt, [solution(facts_by_name(t.facts), t.asked) for t in tests]

    def run(self, source: str) -> TestRun:
        """Give the verdict at once; ``source`` is the prompt and the answer."""
        yield from ()
        return _first_failure(verdict(steps, source.removeprefix(self.prompt)) for steps in self.solutions)


def test_runner(problem: Problem) -> CallRunner | JobPerTestRunner | DerivationRunner:
    """Make what runs a problem's tests."""
    kinds = {CallTest: CallRunner, DerivationTest: DerivationRunner}
    return kinds.get(type(problem.tests[0]), JobPerTestRunner)(problem)


def _limits(problem: Problem) -> dict:
    return {name: problem.meta[name] for name in ("cpu_s", "memory_mb") if name in problem.meta}


def _first_failure(reasons: Iterable[str | Job]) -> str:
    """The first reason that is neither passed nor infra; else infra if there is one, else passed. Jobs are open."""
    seen_infra = False
    for reason in reasons:
        if isinstance(reason, str) and reason not in ("passed", "infra"):
            return reason
        seen_infra |= reason == "infra"
    return "infra" if seen_infra else "passed"
