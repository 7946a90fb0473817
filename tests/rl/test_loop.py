"""The RL loop: the example of a new method in docs/architecture.md, run as it stands there."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import make_policy
from rich.console import Console

from ra3.config.settings import Config, RlvrSettings, UpdateSettings
from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.rl.loop import Task, reinforce
from ra3.rl.losses import cispo_loss
from ra3.rl.solve import SolveProblems
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.recorder import Recorder
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS

PAGE = Path(__file__).parents[2] / "docs/architecture.md"


@pytest.fixture(scope="module")
def method():
    """The class that the page defines."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 35
    names: dict = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["SureAndShort"]


def recorder(folder, every_s=1e9) -> Recorder:
    run = Run.create(folder, "run", Config().model_dump(mode="json"), "rlvr", resume=True)
    return Recorder(run, Display(run, Console(file=io.StringIO())), every_s)


def test_the_example_of_a_new_method_learns_and_resumes(tmp_path, method):
    world, seen = WORLDS["functions"], []
    base = Policy.load(world.model, "pretrained", torch.float32, torch.device("cpu"), 0)
    problems = world.problems("rl", 0, 12, "known")
    settings = RlvrSettings(steps=3, batch_problems=4, samples=4, max_new_tokens=40)

    class Watched(method):
        def after_step(self, step, numbers):
            super().after_step(step, numbers)
            seen.append((step, numbers))

    class Dying(Watched):
        def after_step(self, step, numbers):
            raise KeyboardInterrupt

    def run(folder, kind=Watched):
        with recorder(folder, every_s=0) as rec, Sandbox(1) as sandbox:
            try:
                return reinforce(rec, base.snapshot(), kind(rec, problems, sandbox, settings, UpdateSettings(), 0))
            finally:
                rec.run.close()

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Dying)
    assert [step for step, _ in seen] == [0, 1, 2] and any(numbers["grad_norm"] > 0 for _, numbers in seen)
    assert method(None, problems, None, settings, UpdateSettings(), 0).loss.loss is cispo_loss
    assert any(not torch.equal(a, b) for a, b in zip(whole.model.parameters(), base.model.parameters(), strict=True))
    parts = run(tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True))
    tied = base.model.get_input_embeddings().weight
    assert torch.equal(whole.model.get_input_embeddings().weight, tied), "the method froze it"
    lines = [json.loads(line) for line in (tmp_path / "whole/run/metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"rlvr"} and all("pass_rate" in line for line in lines)


def test_a_filter_of_rows_leaves_what_is_read_and_blamed_in_place(tmp_path):
    """Half of the rows are learned from; all are written down with their own words, and blame falls on their names."""

    class EverySecond(SolveProblems):
        poison = False

        def select(self, rollouts, advantage):
            index = torch.arange(1, len(advantage), 2)
            rows, advantage = rollouts.rows.select(index), rollouts.rows.action_mask[index].float()
            return rows, advantage * torch.nan if self.poison else advantage

        def notes(self, rollouts):
            return [f"row {r}" for r in range(len(rollouts.rows))]

    world = WORLDS["functions"]
    base = Policy.load(world.model, "pretrained", torch.float32, torch.device("cpu"), 0)
    problems = world.problems("rl", 0, 2, "known")
    settings = RlvrSettings(steps=1, batch_problems=2, samples=4, max_new_tokens=20)
    with recorder(tmp_path) as rec, Sandbox(1) as sandbox:
        task = EverySecond(rec, problems, sandbox, settings, UpdateSettings(), 0)
        reinforce(rec, base.snapshot(), task)
        lines = [json.loads(line) for line in (tmp_path / "run/rollouts.jsonl").read_text().splitlines()]
        assert [(x["group"], x["sample"], x["verdict"]) for x in lines] == [
            (0, 0, "row 0"), (0, 1, "row 1"), (1, 0, "row 4"), (1, 1, "row 5"),
        ]  # fmt: skip
        task.poison, task.name = True, "again"
        with pytest.raises(UserError, match=f"(?s){re.escape(problems[0].id)}|{re.escape(problems[1].id)}"):
            reinforce(rec, base.snapshot(), task)
        bad = [json.loads(line)["document"] for line in (tmp_path / "run/bad-rows.jsonl").read_text().splitlines()]
        assert sorted(bad) == sorted([problem.id for problem in task.problems for _ in range(2)])
        rec.run.close()


def test_a_task_that_replaces_nothing_says_what_is_missing(tmp_path):
    task = Task()
    task.stage, task.num_steps, task.learning_rate, task.update = "rlvr", 1, 0.1, UpdateSettings()
    with recorder(tmp_path) as rec:
        with pytest.raises(NotImplementedError):
            reinforce(rec, make_policy(tmp_path / "model"), task)
        rec.run.close()
