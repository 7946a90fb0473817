"""Verdicts: the one path for rewards and for evaluation. A program is right if every test gave what was expected."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from threading import Event

from ra3.grading.problems import Problem, program
from ra3.grading.test_runners import test_runner
from ra3.sandbox import Sandbox, SandboxError
from ra3.sandbox.jobs import Job, Outcome


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


def grade(sandbox: Sandbox, attempts: Iterable[tuple[Problem, str]]) -> list[Verdict]:
    """Return the verdict on every (problem, completion), in order. Equal jobs run once.

    Scripts are run on their first stdin; only those that pass it are run on the others.
    """
    return GradeCache(sandbox.run).verdicts(attempts)


class GradeCache:
    """Grades batch after batch; a job that an earlier batch ran is not run again."""

    def __init__(self, run: Callable[[list[Job]], list[Outcome]]):
        self._run, self._known = run, dict[Job, Outcome]()

    def verdicts(self, attempts: Iterable[tuple[Problem, str]]) -> list[Verdict]:
        """Return the verdict on every attempt, in order."""
        attempts = list(attempts)
        runners = {id(problem): test_runner(problem) for problem, _ in attempts}
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
