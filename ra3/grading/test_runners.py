"""How each kind of test is sat: which jobs a program needs run, and what their outcomes say of it.

An exam's ``sit(source)`` is a generator. It yields lists of jobs, is sent their outcomes, and returns the reason of the
verdict. A program fails by its first test that fails; only if none does and one could not be judged, that is ``infra``.
"""

from collections.abc import Generator, Iterable
from dataclasses import replace

from ra3.grading.derivation import facts_by_name, solution, verdict
from ra3.grading.equality import Rule, same_output, same_value
from ra3.grading.problems import CallTest, CheckedTest, DerivationTest, JudgeTest, Problem, StdioTest
from ra3.sandbox.jobs import DEFAULT_OUTPUT, Job, Outcome, Result, encode_inputs, encode_strictly

Sitting = Generator[list[Job], list[Outcome], str]


class CallExam:
    """All calls in one job; the values are compared here."""

    def __init__(self, problem: Problem):
        tests = [test for test in problem.tests if isinstance(test, CallTest)]
        self.rule = Rule.of(problem.meta)
        self.expected = [encode_strictly(test.expected) for test in tests]
        max_output = max(DEFAULT_OUTPUT, 4 * sum(len(value) + 16 for value in self.expected))
        inputs = encode_inputs(test.args for test in tests)
        self.job = Job("call", "", problem.entry_point, inputs, len(tests), max_output, *_limits(problem))

    def sit(self, source: str) -> Sitting:
        """One job."""
        (outcome,) = yield [replace(self.job, source=source)]
        if outcome.fault == "infra":
            return "infra"
        reasons = map(self._judge, self.expected, outcome.results)
        if (reason := _first_failure(reasons)) != "passed":
            return reason
        complete = len(outcome.results) == len(self.expected)
        return outcome.fault or ("passed" if complete else "error:ProtocolError")

    def _judge(self, expected: bytes, result: Result) -> str:
        if result.error:
            return raised(result.error)
        return "passed" if same_value(expected, result.data, self.rule) else "wrong_answer"


class ScriptExam:
    """One job per stdin, the others only after the first is passed. A checker runs once the program has ended."""

    def __init__(self, problem: Problem):
        self.tests = [test for test in problem.tests if isinstance(test, StdioTest | CheckedTest)]
        self.rule, self.limits = Rule.of(problem.meta), _limits(problem)

    def sit(self, source: str) -> Sitting:
        """The first test, then the rest."""
        for tests in filter(None, (self.tests[:1], self.tests[1:])):
            outcomes = yield [self._job(source, test) for test in tests]
            reasons = [outcome.fault or "passed" for outcome in outcomes]
            if _first_failure(reasons) in ("passed", "infra"):
                checks = [self._check(test, outcome) for test, outcome in zip(tests, outcomes, strict=True)]
                checked = iter((yield jobs) if (jobs := [check for check in checks if isinstance(check, Job)]) else [])
                reasons = [_checked(next(checked)) if isinstance(check, Job) else check for check in checks]
            if (reason := _first_failure(reasons)) != "passed":
                return reason
        return "passed"

    def _job(self, source: str, test: StdioTest | CheckedTest) -> Job:
        expected = test.expected_stdout if isinstance(test, StdioTest) else test.reference
        max_output = max(DEFAULT_OUTPUT, 4 * len(expected))
        return Job("stdio", source, None, test.stdin.encode(), 0, max_output, *self.limits)

    def _check(self, test: StdioTest | CheckedTest, outcome: Outcome) -> Job | str:
        """A reason, or the checker's job."""
        if outcome.fault:
            return outcome.fault
        if isinstance(test, StdioTest):
            return "passed" if same_output(test.expected_stdout, outcome.stdout, self.rule) else "wrong_answer"
        try:
            output = outcome.stdout.decode()
        except UnicodeDecodeError:
            return "wrong_answer"
        return Job.call(test.checker, "check", [(test.stdin, output, test.reference)])


def _checked(outcome: Outcome) -> str:
    """A checker says True; whatever else it says or does, the program is not paid."""
    if outcome.fault == "infra":
        return "infra"
    if outcome.fault or outcome.results[0].error:
        return "checker_failed"
    return "passed" if outcome.results[0].data == b"true" else "wrong_answer"


class JudgeExam:
    """One judged job per test; the judge's word is the verdict."""

    def __init__(self, problem: Problem):
        limits, entry = _limits(problem), problem.entry_point or ""
        tests = [test for test in problem.tests if isinstance(test, JudgeTest)]
        jobs = [Job.judge("", dict.fromkeys((entry, *test.names)), test.source) for test in tests]
        self.jobs = [replace(job, cpu_s=limits[0], memory_mb=limits[1]) for job in jobs]

    def sit(self, source: str) -> Sitting:
        """The first test, then the rest."""
        for jobs in filter(None, (self.jobs[:1], self.jobs[1:])):
            outcomes = yield [replace(job, source=source) for job in jobs]
            if (reason := _first_failure(map(self._judge, outcomes))) != "passed":
                return reason
        return "passed"

    def _judge(self, outcome: Outcome) -> str:
        if outcome.fault:
            return outcome.fault
        (result,) = outcome.results
        if result.error:
            return "wrong_answer" if result.error == "AssertionError" else raised(result.error)
        return "passed" if result.data == b"true" else "error:ProtocolError"


class DerivationExam:
    """No job: the answer is read as text, in this process, and nothing of it is run."""

    def __init__(self, problem: Problem):
        tests = [test for test in problem.tests if isinstance(test, DerivationTest)]
        self.prompt, self.solutions = problem.prompt, [solution(facts_by_name(t.facts), t.asked) for t in tests]

    def sit(self, source: str) -> Sitting:
        """The verdict at once; ``source`` is the prompt and the answer."""
        yield from ()
        return _first_failure(verdict(steps, source.removeprefix(self.prompt)) for steps in self.solutions)


def exam(problem: Problem) -> CallExam | ScriptExam | JudgeExam | DerivationExam:
    """A problem's tests in the form in which they are sent and compared, made once for all its answers."""
    kinds = {
        CallTest: CallExam, StdioTest: ScriptExam, CheckedTest: ScriptExam, JudgeTest: JudgeExam,
        DerivationTest: DerivationExam,
    }  # fmt: skip
    return kinds[type(problem.tests[0])](problem)


def _limits(problem: Problem) -> tuple[float | None, int | None]:
    return problem.meta.get("cpu_s"), problem.meta.get("memory_mb")


def raised(name: str) -> str:
    """The reason for an exception of this name."""
    return "memory" if name == "MemoryError" else f"error:{name}"


def _first_failure(reasons: Iterable[str]) -> str:
    """The first reason that is neither passed nor infra; else infra if there is one, else passed."""
    seen_infra = False
    for reason in reasons:
        if reason not in ("passed", "infra"):
            return reason
        seen_infra |= reason == "infra"
    return "infra" if seen_infra else "passed"
