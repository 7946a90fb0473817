"""RLVR's groups: which are dead, how others take their place, and that a stopped run takes the same ones."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest
from cli_runs import Started, ra3
from small_runs import rlvr, same, went_on

from ra3.grading.grade import Verdict
from ra3.grading.problem_tests import CallTest
from ra3.grading.problems import Problem
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rows import FULL, RowBuilder, build
from ra3.seeds import Order, batch_of


def groups(*passed: tuple[bool | None, ...]) -> GradedPrograms:
    """A group per tuple, of programs with these verdicts."""
    problems = [Problem(id=f"p{i}", prompt="", tests=(CallTest((), 1),), entry_point="f") for i in range(len(passed))]
    builders = []
    for p, verdicts in enumerate(passed):
        for g in range(len(verdicts)):
            builder = RowBuilder.start(p, [1])
            builder.append(10 * p + g, 0, FULL, -1.0, -1.0)
            builders.append(builder)
    verdicts = [Verdict(one, "passed" if one else "wrong_answer", 0.0) for group in passed for one in group]
    return GradedPrograms(build(builders), problems, len(passed[0]), verdicts)


def test_groups_of_equal_rewards_are_dead_and_what_was_not_judged_counts_for_nothing():
    three = groups((True, True), (True, False), (False, None))
    assert three.dead.tolist() == [True, False, True]
    assert three.passed.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert three.counted.tolist() == [[True, True], [True, True], [True, False]]


def test_kept_and_new_groups_are_one_batch_with_numbers_of_its_own(policy):
    first, second = groups((True, True), (True, False)), groups((False, True))
    both = GradedPrograms.join([first.select([1]), second])
    assert [p.id for p in both.items] == ["p1", "p0"] and both.dead.tolist() == [False, False]
    assert both.rows.group.tolist() == [0, 0, 1, 1]
    assert both.rows.ids[:, 1].tolist() == [10, 11, 0, 1]
    task = SolveProblems.__new__(SolveProblems)  # metrics need no settings
    numbers = task.metrics(policy, replace(both, sampled=GradedPrograms.join([first, second])), both.passed.flatten())
    assert numbers["refilled"] == 1 and numbers["dead_groups"] == pytest.approx(1 / 3)
    assert numbers["pass_rate"] == pytest.approx(4 / 6) and numbers["tokens_generated"] == 6


def test_an_order_takes_every_item_in_turn_however_many_at_a_time():
    order, again = Order(10, seed=3), Order(10, seed=3)
    assert [order.take(4) for _ in range(5)] == [batch_of(10, 4, step, seed=3) for step in range(5)]
    taken = [again.take(size) for size in (3, 1, 6)]
    assert sorted(i for part in taken for i in part) == list(range(10))
    order.load_state_dict(again.state_dict())
    assert order.take(7) == again.take(7)


def steps_of(folder) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_dead_groups_make_room_and_a_stopped_run_draws_the_same(home):
    words = ("--model", "functions", "--rlvr.batch-problems", 4, "--rlvr.max-new-tokens", 40, "--rlvr.refills", 2)
    assert ra3(home, *rlvr("refilled", *words)).returncode == 0
    assert ra3(home, *rlvr("plain", *words, "--rlvr.refills", 0)).returncode == 0
    with_refills, plain = (steps_of(home / "runs" / name) for name in ("refilled", "plain"))
    assert with_refills[0]["dead_groups"] > 0 and with_refills[0]["refilled"] >= 1
    assert all(line["refilled"] == 0 for line in plain)
    assert with_refills[0]["tokens_generated"] > plain[0]["tokens_generated"]
    run, metrics = Started(home, rlvr("stopped", *words)), home / "runs/stopped/metrics.jsonl"
    run.wait_until(lambda: metrics.exists() and metrics.stat().st_size)
    run.signal(signal.SIGTERM)
    assert run.wait().returncode == 143
    went_on(home, rlvr("stopped", *words), home / "runs/refilled")
    same(home / "runs/stopped", home / "runs/refilled")
