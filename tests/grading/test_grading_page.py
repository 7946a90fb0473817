"""docs/grading.md: its blocks of code run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import make_policy

from ra3.benchmarks.samples import read_attempt
from ra3.data.tables import read_lines
from ra3.errors import UserError
from ra3.grading.grade import grade

PAGE = Path(__file__).parents[2] / "docs/grading.md"
LIBRARY, REWARD, TRAINER = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
PROBLEMS = (
    {"id": "add", "prompt": "def add(a, b):\n", "entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}]},
    {"id": "quiet", "prompt": "# print nothing\n", "tests": [{"stdin": "", "stdout": ""}]},
)
RIGHT, WRONG = (f"So:\n```python\ndef add(a, b):\n    return a {sign} b\n```\n" for sign in "+-")
CHAT = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


@pytest.fixture
def reward(tmp_path, monkeypatch):
    """The names that the block of the reward function defines."""
    monkeypatch.chdir(tmp_path)
    Path("problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS), encoding="utf-8")
    names: dict = {}
    exec(compile(REWARD.replace("workers=8", "workers=1"), str(PAGE), "exec"), names)
    yield names
    names["sandbox"].close()


def test_the_library_in_ten_lines(capsys):
    assert len(list(filter(None, LIBRARY.splitlines()))) <= 10
    exec(compile(LIBRARY, str(PAGE), "exec"), {})
    assert f"```text\n{capsys.readouterr().out}```" in PAGE.read_text(encoding="utf-8")


def test_the_lines_of_the_command(tmp_path, one_server):
    lines, verdicts = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "attempts.jsonl").write_text(lines, encoding="utf-8")
    said = [json.loads(verdict) for verdict in verdicts.splitlines()]
    with (tmp_path / "attempts.jsonl").open("rb") as file:
        *good, bad = read_lines(file, "stdin")
    found = grade(one_server, map(read_attempt, good))
    assert [(v.passed, v.reason) for v in found] == [(v["passed"], v["reason"]) for v in said[:-1]]
    with pytest.raises(UserError) as error:
        read_attempt(bad)
    assert str(error.value) == said[-1]["error"]


@pytest.mark.parametrize("form", [lambda text: text, lambda text: [{"role": "assistant", "content": text}]])
def test_the_reward_of_texts_and_of_chat_messages(reward, form):
    written = {RIGHT: 1, WRONG: 0, "I do not know.": 0, "    return a + b\n": 0, "def add(*x): return sum(x)": 1}
    columns = {"task": ["add"] * 5, "prompts": [""] * 5, "completion_ids": [[0]] * 5, "trainer_state": None}
    assert reward["passes_tests"](completions=[*map(form, written)], **columns) == [*written.values()]
    assert reward["passes_tests"]([form("# nothing"), form(RIGHT), form("print(0)")], ["quiet"] * 3) == [1, 1, 0]


@pytest.mark.filterwarnings("default")
def test_the_trainer_of_trl_takes_the_reward(reward, tmp_path):
    pytest.importorskip("trl")
    policy, folder, paid = make_policy(tmp_path), tmp_path / "tiny", []
    policy.tokenizer.chat_template = CHAT
    policy.save(folder)
    policy.tokenizer.save_pretrained(folder)
    passes_tests = reward["passes_tests"]

    def recorded(*arguments, **columns):
        paid.append(passes_tests(*arguments, **columns))
        return paid[-1]

    small = "num_generations=4, max_completion_length=4, max_steps=2, logging_steps=1, use_cpu=True, report_to=[], "
    code = TRAINER.replace("Qwen/Qwen2.5-Coder-0.5B-Instruct", str(folder)).replace("num_generations=8, ", small)
    code = code.replace("max_completion_length=512", "per_device_train_batch_size=4, save_strategy='no'")
    names = {**reward, "passes_tests": recorded}
    exec(compile(code, str(PAGE), "exec"), names)
    logged = [log["reward"] for log in names["trainer"].state.log_history if "reward" in log]
    assert len(paid) == 2 and logged == pytest.approx([sum(rewards) / 4 for rewards in paid])
