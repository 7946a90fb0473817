"""Verdicts: the one path for rewards and for evaluation. A program is right if every test gave what was expected.

What runs a problem's tests is made once for all answers. Its ``run(source)`` is a generator: it yields lists of jobs,
is sent their outcomes, and returns the reason of the verdict. A program fails by its first test that fails; only if
none does and one could not be judged, that is ``infra``.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event

from ra3 import ranks
from ra3.grading.derivation import facts_by_name, solution, verdict
from ra3.grading.equality import Rule, same_value
from ra3.grading.problem_tests import AnswerTest, CallTest, CheckedTest, DerivationTest, JudgeTest, StdioTest, raised
from ra3.grading.problems import Problem, program
from ra3.sandbox import Sandbox, SandboxError
from ra3.sandbox.jobs import DEFAULT_OUTPUT, Job, Outcome, Result, encode_inputs, encode_strictly

CHECKER_CPU_S = 10.0
TestRun = Generator[list[Job], list[Outcome], str]


@dataclass(frozen=True)
class Verdict:
    """Whether a program solved its problem.

    Example: ``Verdict(False, "error:IndexError", 0.004)``
    """

    passed: bool | None
    """None: our own machinery failed (``infra``); such a sample is left out and counted, neither right nor wrong."""
    reason: str
    """passed, wrong_answer, error:NAME, timeout, memory, syntax, missing_entry_point, output_cap, checker_failed or
    infra; of answers in sentences also wrong_step."""
    cpu_s: float
    """CPU seconds of all its runs."""


def refuse_unjudged(verdicts: Sequence[Verdict]) -> None:
    """SandboxError if not one of the programs could be judged: then the sandbox is broken, and the numbers would be."""
    if verdicts and all(verdict.passed is None for verdict in verdicts):
        raise SandboxError(f"none of {len(verdicts)} programs could be judged")


class CallRunner:
    """All calls in one job; the values are compared here. Where a call has its own limit, the first is tried alone
    before, so that most programs that do not end are ended soon."""

    def __init__(self, problem: Problem):
        tests = [test for test in problem.tests if isinstance(test, CallTest)]
        self.rule = Rule.of(problem.meta)
        self.expected = [encode_strictly(test.expected) for test in tests]
        max_output = max(DEFAULT_OUTPUT, 4 * sum(len(value) + 16 for value in self.expected))
        inputs = encode_inputs(test.args for test in tests)
        self.jobs = [Job("call", "", problem.entry_point, inputs, len(tests), max_output, **_limits(problem))]
        if "call_cpu_s" in problem.meta and len(tests) > 1:
            first = {"data": encode_inputs([tests[0].args]), "tests": 1, "cpu_s": problem.meta["call_cpu_s"]}
            self.jobs.insert(0, replace(self.jobs[0], **first))

    def run(self, source: str) -> TestRun:
        """Run one job, or two."""
        for job in self.jobs:
            (outcome,) = yield [replace(job, source=source)]
            if outcome.fault == "infra":
                return "infra"
            if (reason := _first_failure(map(self._reason, self.expected, outcome.results))) != "passed":
                return reason
            if outcome.fault or len(outcome.results) != job.tests:
                return outcome.fault or "error:ProtocolError"
        return "passed"

    def _reason(self, expected: bytes, result: Result) -> str:
        if result.error:
            return raised(result.error)
        return "passed" if same_value(expected, result.data, self.rule) else "wrong_answer"


class JobPerTestRunner:
    """One job per test, the others only after the first is passed: most wrong programs fail it."""

    def __init__(self, problem: Problem):
        self.tests = [test for test in problem.tests if isinstance(test, StdioTest | CheckedTest | JudgeTest)]
        self.entry_point, self.rule, self.limits = problem.entry_point, Rule.of(problem.meta), _limits(problem)
        self.checker_limits = _checker_limits(problem)
        self.allowed = "error:SystemExit" if problem.meta.get("any_exit") and not problem.entry_point else None

    def run(self, source: str) -> TestRun:
        """Run the first test, then the rest; where a test has a checker, that too, once no program has failed."""
        for tests in filter(None, (self.tests[:1], self.tests[1:])):
            outcomes = yield [replace(test.job(source, self.entry_point), **self.limits) for test in tests]
            tried = zip(tests, outcomes, strict=True)
            reasons = [self._reason(test, outcome) for test, outcome in tried]
            checks = [replace(reason, **self.checker_limits) for reason in reasons if isinstance(reason, Job)]
            if checks and _first_failure(reasons) in ("passed", "infra"):
                checked = iter((yield checks))
                reasons = [_checked(next(checked)) if isinstance(reason, Job) else reason for reason in reasons]
            if (reason := _first_failure(reasons)) != "passed":
                return reason
        return "passed"

    def _reason(self, test: StdioTest | CheckedTest | JudgeTest, outcome: Outcome) -> str | Job:
        if outcome.fault and outcome.fault != self.allowed:
            return outcome.fault
        return test.reason(outcome, self.rule)


def _checked(outcome: Outcome) -> str:
    """A checker says True; whatever else it says or does, the program is not paid."""
    if outcome.fault or outcome.results[0].error:
        return "infra" if outcome.fault == "infra" else "checker_failed"
    return "passed" if outcome.results[0].data == b"true" else "wrong_answer"


class DerivationRunner:
    """No job: the answer is read as text, in this process, and nothing of it is run."""

    def __init__(self, problem: Problem):
        tests = [test for test in problem.tests if isinstance(test, DerivationTest)]
        self.prompt, self.solutions = problem.prompt, [solution(facts_by_name(t.facts), t.asked) for t in tests]

    def run(self, source: str) -> TestRun:
        """Give the verdict at once; ``source`` is the prompt and the answer."""
        yield from ()  # a generator like the others, though it asks for no job
        return _first_failure(verdict(steps, source.removeprefix(self.prompt)) for steps in self.solutions)


class AnswerRunner:
    """No job: the answer is words, which are compared here."""

    def __init__(self, problem: Problem):
        self.problem, self.tests = problem, [test for test in problem.tests if isinstance(test, AnswerTest)]

    def run(self, source: str) -> TestRun:
        """Give the verdict at once; ``source`` is the answer, behind the prompt unless it is a reply."""
        yield from ()
        reply = source if self.problem.answer == "reply" else source.removeprefix(self.problem.prompt)
        return _first_failure(test.verdict(self.problem.cue, reply) for test in self.tests)


def test_runner(problem: Problem) -> CallRunner | JobPerTestRunner | DerivationRunner | AnswerRunner:
    """Make what runs a problem's tests."""
    kinds = {CallTest: CallRunner, DerivationTest: DerivationRunner, AnswerTest: AnswerRunner}
    return kinds.get(type(problem.tests[0]), JobPerTestRunner)(problem)


def _limits(problem: Problem) -> dict:
    return {name: problem.meta[name] for name in ("cpu_s", "memory_mb") if name in problem.meta}


def _checker_limits(problem: Problem) -> dict:
    """The problem's own, yet time enough for a checker whatever a program is given."""
    limits = _limits(problem)
    return {**limits, "cpu_s": max(CHECKER_CPU_S, limits.get("cpu_s", 0))}


def checker_jobs(problem: Problem) -> list[Job]:
    """Return what has each checker of a problem look at the output that its test has for a reference."""
    tests = [test for test in problem.tests if isinstance(test, CheckedTest) and test.reference]
    return [replace(test.check(test.reference), **_checker_limits(problem)) for test in tests]


def _first_failure(reasons: Iterable[str | Job]) -> str:
    """The first reason that is neither passed nor infra; else infra if there is one, else passed. Jobs are open."""
    seen_infra = False
    for reason in reasons:
        if isinstance(reason, str) and reason not in ("passed", "infra"):
            return reason
        seen_infra |= reason == "infra"
    return "infra" if seen_infra else "passed"


def grade(sandbox: Sandbox, attempts: Iterable[tuple[Problem, str]]) -> list[Verdict]:
    """Return the verdict on every (problem, completion), in order. Equal jobs run once.

    Scripts are run on their first stdin; only those that pass it are run on the others. Each rank runs some.
    """
    every, rank, count = list(attempts), ranks.rank(), ranks.count()
    told = ranks.from_all(GradeCache(sandbox.run).verdicts(every[rank::count]))
    return [told[i % count][i // count] for i in range(len(every))]


class GradeCache:
    """Grades batch after batch; a job that an earlier batch ran is not run again."""

    def __init__(self, run: Callable[[list[Job]], list[Outcome]]):
        self._run, self._known = run, dict[Job, Outcome]()

    def verdicts(self, attempts: Iterable[tuple[Problem, str]]) -> list[Verdict]:
        """Return the verdict on every attempt, in order."""
        attempts = list(attempts)
        runners = {key: test_runner(problem) for key, problem in {id(p): p for p, _ in attempts}.items()}
        runs = [runners[id(problem)].run(program(problem, text)) for problem, text in attempts]
        reasons, cpu_s = [""] * len(runs), [0.0] * len(runs)
        sent: dict[int, list[Outcome] | None] = dict.fromkeys(range(len(runs)))  # None starts a generator
        while sent:
            wanted: dict[int, list[Job]] = {}
            for index, outcomes in sent.items():
                try:
                    wanted[index] = runs[index].send(outcomes)  # type: ignore[arg-type]
                except StopIteration as end:
                    reasons[index] = end.value
            fresh = list(dict.fromkeys(job for jobs in wanted.values() for job in jobs if job not in self._known))
            if fresh:
                self._known.update(zip(fresh, self._run(fresh), strict=True))
            sent = {index: [self._known[job] for job in jobs] for index, jobs in wanted.items()}
            for index, jobs in wanted.items():
                cpu_s[index] += sum(self._known[job].cpu_s for job in jobs)
        passed = [None if reason == "infra" else reason == "passed" for reason in reasons]
        return list(map(Verdict, passed, reasons, cpu_s))


class Grader:
    """Grades in the background: hand in programs while others are still being written, and take the verdicts later.

    Example::

        with Grader(sandbox) as grader:
            pending = [grader.submit(attempts) for attempts in batches]
            verdicts = [future.result() for future in pending]

    One thread grades, to which the sandbox belongs meanwhile: whatever has come while it was at work it takes together.
    """

    def __init__(self, sandbox: Sandbox):
        self._sandbox, self._pool = sandbox, ThreadPoolExecutor(1, "grader")
        self._cache, self._left = GradeCache(self._run), Event()
        self._waiting: deque[tuple[list[tuple[Problem, str]], Future[list[Verdict]]]] = deque()

    def submit(self, attempts: Iterable[tuple[Problem, str]]) -> "Future[list[Verdict]]":
        """The verdicts on these attempts, as ``grade`` would give them; an exception of it is raised by ``result``."""
        future: Future[list[Verdict]] = Future()
        self._waiting.append((list(attempts), future))
        self._pool.submit(self._grade_waiting)
        return future

    def run(self, jobs: list[Job]) -> list[Outcome]:
        """The outcomes of jobs that are no tests, once those that were handed in before are graded."""
        return self._pool.submit(self._run, jobs).result()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_):
        """Give up what is not graded yet; programs that run are ended with the next that ends or is late."""
        self._left.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _grade_waiting(self):
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        try:
            verdicts = iter(self._cache.verdicts(attempt for attempts, _ in taken for attempt in attempts))
        except BaseException as error:
            for _, future in taken:
                future.set_exception(error)
        else:
            for attempts, future in taken:
                future.set_result(list(islice(verdicts, len(attempts))))

    def _run(self, jobs: list[Job]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        with closing(self._sandbox.stream(jobs)) as stream:
            for index, outcome in stream:
                outcomes[index] = outcome
                if self._left.is_set():
                    raise CancelledError
        return [outcomes[index] for index in range(len(jobs))]
