"""The runs of docs/real-evidence.md: commands whose settings are right, functions whose comments alone were taken out,
and tables that are those of their data."""

import ast
import importlib
import json
import re
import shlex
from itertools import permutations
from pathlib import Path

import pytest
import real_evidence_page

from ra3.benchmarks import load_benchmark
from ra3.config.load import load, parse
from ra3.grading.problems import load as load_problems
from ra3.run.results import ProblemCount, Results

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def evidence():
    """perf/real_evidence.py as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "perf")
        yield importlib.import_module("real_evidence")


def owed(evidence, monkeypatch, capsys, tmp_path, *words):
    """The commands that a stage would run, and the settings that each comes to."""
    run = ["real_evidence.py", "run", "model", "corpus", str(tmp_path), "--workers", "1", "--dry-run", *words]
    monkeypatch.setattr("sys.argv", run)
    evidence.main()
    commands = [shlex.split(line.removeprefix("$ ra3 ")) for line in capsys.readouterr().out.splitlines()]
    return [(verb, load(*parse(flags))) for verb, *flags in commands]


def test_all_methods_train_on_as_many_tokens_from_the_same_model(evidence, monkeypatch, capsys, tmp_path):
    found = owed(evidence, monkeypatch, capsys, tmp_path, "--stage", "midtrain")
    trained = [config for verb, config in found if verb == "midtrain"]
    assert len(trained) == len(evidence.SYSTEMS) - 1 and {config.model.path for config in trained} == {"model"}
    assert {config.midtrain.mstep.tokens for config in trained if config.run.name != "ntp-flops-70"} == {40000}
    assert len({config.run.name for _, config in found}) == len(found)
    assert {Path(config.corpus.heldout_path or "").name for config in trained} == {"heldout-stripped.jsonl"}


def test_rlvr_and_benchmarks_go_on_from_what_was_trained(evidence, monkeypatch, capsys, tmp_path):
    for stage in ("rlvr", "benchmarks"):
        for verb, config in owed(evidence, monkeypatch, capsys, tmp_path, "--stage", stage):
            name = config.run.name.partition("-on-")[0].removesuffix("-rlvr" if verb == "rlvr" else "")
            assert config.model.path == ("model" if name == "base-70" else f"{tmp_path}/{name}/model")


@pytest.mark.parametrize("module", ["argparse", "textwrap", "heapq", "bisect"])
def test_without_its_comments_a_program_is_the_same(evidence, module):
    text = (Path(ast.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    bare = evidence.without_comments(text)
    assert ast.dump(ast.parse(bare)) == ast.dump(ast.parse(text))
    assert evidence.comment_places(bare) == [] and len(bare) < len(text)


def test_what_looks_like_a_comment_in_a_text_stays(evidence):
    assert evidence.without_comments('# a\nx = "# b"  # c\n\n    # d\n') == 'x = "# b"\n\n'
    assert evidence.without_comments("x = 1\n\x0c\ny = 2  # z\n") == "x = 1\n\x0c\ny = 2\n"
    assert evidence.without_comments("x = '''\n") is None


def test_a_pool_holds_what_was_solved(evidence, tmp_path):
    counts = [ProblemCount("model", "doctest", name, 4, passed) for name, passed in (("a", 0), ("b", 1))]
    (tmp_path / "results.json").write_text(json.dumps(Results(problems=counts).to_json()))
    (tmp_path / "all.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')
    evidence.pool(tmp_path / "pool.jsonl", [f"{tmp_path}={tmp_path}/all.jsonl"])
    assert (tmp_path / "pool.jsonl").read_text() == '{"id": "b"}\n'


def test_problems_of_a_benchmark_are_the_same_in_a_file(evidence, tmp_path):
    """Calls with values that JSON lacks, and asserts that say more than a call."""
    plain = {"text": "Add.", "code": "def f(x):\n    return x", "task_id": 601, "test_list": ["assert f((1,)) == {2}"]}
    judged = plain | {"task_id": 602, "test_list": ["assert abs(f(1.5) - 1.5) < 1e-3"]}
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (plain, judged)))
    source = f"mbpp-train:{tmp_path}/mbpp.jsonl"
    rows = "".join(json.dumps(row) + "\n" for row in evidence.problem_rows(source))
    (tmp_path / "pool.jsonl").write_text(rows)
    assert load_problems(str(tmp_path / "pool.jsonl")) == load_benchmark(source).problems


def test_the_tables_are_those_of_their_data():
    page = real_evidence_page.PAGE.read_text(encoding="utf-8")
    assert page == real_evidence_page.real_evidence_page(page), "run: .venv/bin/python tests/real_evidence_page.py"


def test_every_interval_in_the_text_is_one_of_the_tables_or_of_two_systems():
    page = real_evidence_page.PAGE.read_text(encoding="utf-8")
    estimate = re.compile(r"([+-]?\d+\.\d+)(?: \w+){0,8} \[(-?\d+\.\d+), (-?\d+\.\d+)\]")
    tables = "".join(line for line in page.splitlines(keepends=True) if line.startswith("|"))
    text = " ".join(line for line in page.splitlines() if not line.startswith("|"))
    sets = [real_evidence_page.Programs(name) for name in ("doctests", "humaneval", "mbpp-all", "mbpp-plus")]
    pairs = (own.difference(a, b)[:2] for own in sets for a, b in permutations(own.counts, 2))
    differences = " ".join(real_evidence_page.told(found, sign="+") for pair in pairs for found in pair if found)
    known = estimate.findall(tables) + estimate.findall(differences)
    known = {tuple(float(part) for part in found) for found in known}
    told = estimate.findall(text)
    assert len(told) > 8 and {tuple(float(part) for part in found) for found in told} <= known
