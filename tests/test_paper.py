"""The driver of the paper's run: commands whose settings are right, and a table whose numbers are those of the runs."""

import importlib.util
import json
import shlex
from pathlib import Path

import pytest

from ra3.config.load import load, parse
from ra3.run.results import ProblemCount, Results

ROOT = Path(__file__).parent.parent
MODELS = sorted({file.stem for file in (ROOT / "recipes/paper").glob("*.toml")} - {"packages", "tiny"})


@pytest.fixture(scope="module")
def paper():
    """perf/paper.py as a module."""
    spec = importlib.util.spec_from_file_location("paper", ROOT / "perf/paper.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def owed(tmp_path, paper, monkeypatch, capsys):
    """The commands that `make paper` would run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def of(*words: str) -> list[list[str]]:
        monkeypatch.setattr("sys.argv", ["paper.py", *words, "--dry-run"])
        paper.main()
        return [shlex.split(line.removeprefix("$ ")) for line in capsys.readouterr().out.splitlines()]

    return of


def test_there_is_a_recipe_for_each_of_the_papers_models(paper):
    assert set(paper.PUBLISHED) < set(MODELS)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale", ["full", "packages", "tiny"])
def test_every_command_has_settings_that_fit(paper, owed, model, scale):
    commands = owed(model, "--scale", scale)
    corpus, doctests, *acts = commands
    assert "python_corpus.py" in corpus[1] and "doctest_problems.py" in doctests[1]
    configs = [(words[3], load(*parse([word for word in words[4:] if word != "--resume"]))) for words in acts]
    sets = 1 if scale == "tiny" else 5
    assert [verb for verb, _ in configs] == ["midtrain", "rlvr"] * 2 + ["eval"] * 5 * sets
    assert [config.midtrain.method for verb, config in configs if verb == "midtrain"] == ["ntp", "ra3"]
    tokens = 10**9 if scale == "full" and model in paper.PUBLISHED else 0
    assert {config.midtrain.mstep.tokens for _, config in configs} == {tokens}
    assert len({config.run.name for _, config in configs}) == len(configs)
    trained = {config.model.path for verb, config in configs if verb == "eval"}
    assert len(trained) == 5  # base, ntp, ra3, and the latter two after RLVR


def test_what_is_there_is_not_made_again(tmp_path, owed):
    (tmp_path / "python-corpus-tiny").mkdir()
    for name in ("manifest.json", "doctests-heldout.jsonl"):
        (tmp_path / "python-corpus-tiny" / name).write_text("")
    assert all(words[:3] == ["python", "-m", "ra3"] for words in owed("smollm2", "--scale", "tiny"))


def test_sets_that_share_tasks_are_drawn_together(paper):
    ab, ba = ({"a": (x, x), "b": (1 - x, 1 - x)} for x in (1.0, 0.0))
    assert paper.average({"humaneval": ab, "humaneval+": ba}).tolist() == [[50, 50]] * 3  # what one loses, one gains
    assert paper.average({"humaneval": ab, "mbpp": ba}).tolist() == [[50, 50], [0, 0], [100, 100]]
    twelve = {str(i): (float(i < 9), 1.0) for i in range(12)}
    eleven = {str(i): (1.0, 1.0) for i in range(11)}  # a + set may lack a task
    assert paper.average({"humaneval": twelve, "humaneval+": eleven})[0].tolist() == [87.5, 100]


def test_the_table_has_the_numbers_of_the_runs(tmp_path, paper):
    passed = {"base": 0, "ntp": 1, "ra3": 2, "ntp+rlvr": 2, "ra3+rlvr": 5}
    for system, count in passed.items():
        problems = [ProblemCount(system, "all", name, 5, count) for name in ("HumanEval/0", "HumanEval/1")]
        for name in ("humaneval", "doctests"):
            folder = tmp_path / paper.eval_name(system, name)
            folder.mkdir()
            (folder / "results.json").write_text(json.dumps(Results(problems=problems).to_json()))
    sets = ["humaneval:HumanEval.jsonl.gz", "doctests"]
    table = paper.table("qwen2.5-1.5b", {name: paper.read_scores(tmp_path, name, sets) for name in paper.SYSTEMS})
    lines = table.splitlines()
    assert lines[0] == "| qwen2.5-1.5b | humaneval | doctests | average pass@1 | paper | average pass@5 | paper |"
    assert lines[3] == "| ntp | 20.0 | 20.0 | 20.0 [20.0, 20.0] | 41.7 | 100.0 [100.0, 100.0] | 58.7 |"
    assert lines[6] == "| ra3+rlvr | 100.0 | 100.0 | 100.0 [100.0, 100.0] |  | 100.0 [100.0, 100.0] |  |"
    assert "RA3 - NTP, pass@1: +20.0 [+20.0, +20.0]; pass@5: +0.0" in table
    assert "RA3+rlvr - NTP+rlvr, pass@1: +60.0 [+60.0, +60.0]" in table and "Averages here: humaneval;" in table
