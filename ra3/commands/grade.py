"""`ra3 grade`: JSON lines of problems with programs, and a line with the verdict on each (docs/grading.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from queue import Queue, SimpleQueue
from threading import Thread
from typing import BinaryIO

from ra3.benchmarks.samples import Sample, read_attempt
from ra3.config.settings import Config
from ra3.data.tables import Row, read_lines
from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.sandbox import Sandbox
from ra3.seeds import derive

AHEAD = 8
"""Lines in memory for each program that runs."""
Pending = Queue[Future[dict] | None]
"""The verdicts to come, in the order of the lines; None after the last."""


def verdict_lines(config: Config, lines: BinaryIO) -> Iterator[str]:
    """Yield the verdict on each line as soon as it and those before it are there, as JSON. UserError at the end if
    one has none."""
    own, seed, total, unjudged = config.sandbox, derive(config.run.seed, "judges"), 0, 0
    with ExitStack() as stack:
        idle = SimpleQueue[Sandbox]()
        for _ in range(own.workers):
            idle.put(stack.enter_context(Sandbox(1, own.cpu_s, memory_mb=own.memory_mb, seed=seed)))
        pool, pending = ThreadPoolExecutor(own.workers), Pending(AHEAD * own.workers)
        stack.callback(pool.shutdown, cancel_futures=True)
        Thread(target=_submit_all, args=(lines, pool, idle, pending), daemon=True).start()
        while future := pending.get():
            verdict = future.result()
            total, unjudged = total + 1, unjudged + (verdict.get("passed") is None)
            yield json.dumps(verdict)
    if unjudged:
        fix = "see `error` in the lines that have it; a program that is `infra` may be sent again"
        raise UserError(f"{unjudged} of {total} lines have no verdict", "stdin", fix=fix)


def _submit_all(lines: BinaryIO, pool: ThreadPoolExecutor, idle: SimpleQueue[Sandbox], pending: Pending) -> None:
    """Whatever is wrong with a line is its verdict; whatever goes wrong here is raised where verdicts are awaited."""
    try:
        for row in read_lines(lines, "stdin"):
            try:
                future = pool.submit(_judge, row, read_attempt(row), idle)
            except UserError as error:
                future = Future[dict]()
                future.set_result({"line": row.line, "error": str(error)})
            pending.put(future)
        pending.put(None)
    except BaseException as error:
        future = Future[dict]()
        future.set_exception(error)
        pending.put(future)


def _judge(row: Row, attempt: Sample, idle: SimpleQueue[Sandbox]) -> dict:
    sandbox = idle.get()
    try:
        (verdict,) = grade(sandbox, [attempt])
    finally:
        idle.put(sandbox)
    return {"line": row.line, "id": attempt.problem.id, **asdict(verdict)}
