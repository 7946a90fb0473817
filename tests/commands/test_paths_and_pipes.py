"""Paths as people write them, and streams that nobody reads or that are not there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import ra3
from small_runs import copy, midtrain, refused

from ra3.cli import main
from ra3.config.load import find_recipe, load
from ra3.errors import UserError

PLACES = (
    *("model.path", "corpus.path", "corpus.heldout_path", "rlvr.problems", "eval.problems", "eval.samples_file"),
    *("run.out", "run.benchmarks"),
)


@pytest.mark.parametrize("key", PLACES)
def test_a_path_has_one_spelling(key, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    spellings = {
        "~/a b": "/home/me/a b", "code/": "code", "./code": "code", "a//b/./c": "a/b/c", "../x/": "../x",
        "~": "/home/me", "/": "/", "ORG/NAME@main": "ORG/NAME@main",
        "humaneval:~/d, 3:x.jsonl": "humaneval:/home/me/d, 3:x.jsonl",
        "humaneval": "humaneval", "mbpp+:data/": "mbpp+:data",
        "~//a/./b/": "/home/me/a/b", "././x": "x", "a b/c d/": "a b/c d",
    }  # fmt: skip
    for written, meant in spellings.items():
        found = load((), {key: [written] if key == "run.benchmarks" else written}).flat()[key]
        assert found == ((meant,) if key == "run.benchmarks" else meant)
    with pytest.raises(UserError, match=rf"{key} cannot be .*: no home folder is known for ~nobody9"):
        load((), {key: "~nobody9/x"})


def test_a_recipe_may_lie_at_home_and_name_places_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my recipe.toml").write_text('[model]\npath = "~/a model"\n[run]\nbenchmarks = ["mbpp:~/a, b"]\n')
    assert find_recipe("~/my recipe.toml") == tmp_path / "my recipe.toml"
    config = load(["~/my recipe.toml"])
    assert config.model.path == f"{tmp_path}/a model" and config.run.benchmarks == (f"mbpp:{tmp_path}/a, b",)
    with pytest.raises(UserError, match="no home folder is known for ~nobody9"):
        find_recipe("~nobody9/my.toml")


@pytest.mark.parametrize(
    "written, meant",
    [
        ('"humaneval:d, 3:x.jsonl",mbpp', ("humaneval:d, 3:x.jsonl", "mbpp")),
        ('mbpp, "humaneval:a,b"', ("mbpp", "humaneval:a,b")),
        ("[mbpp, humaneval]", ("mbpp", "humaneval")),
        ('"mbpp:say ""hi"""', ('mbpp:say "hi"',)),
        ("", ()),
        ('"humaneval:a,b","mbpp:c,d"', ("humaneval:a,b", "mbpp:c,d")),
        ("mbpp:a b,humaneval", ("mbpp:a b", "humaneval")),
        ('"mbpp:~/a, b"', (f"mbpp:{Path('~/a, b').expanduser()}",)),
    ],
)
def test_a_word_of_a_list_may_hold_a_comma(written, meant):
    assert load((), {"run.benchmarks": written}).run.benchmarks == meant


def test_commands_take_folders_at_home(home, whole, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(home))
    assert main(["runs", "show", "~/runs/whole"]) == 0
    assert main(["runs", "list", "~/runs"]) == 0
    assert main(["runs", "verify", "~/runs/whole"]) == 0
    assert "whole (finished)" in capsys.readouterr().out
    assert main(["runs", "show", "~nobody9/runs/whole"]) == 2
    assert "no home folder is known for ~nobody9" in capsys.readouterr().err


def test_a_run_goes_on_however_its_paths_are_spelled(home, whole):
    folder = copy(whole, "spelled")
    (home / "link").symlink_to("tiny")
    words = midtrain(folder.name, "--resume")
    for spelling in ("./tiny/", str(home / "tiny"), "link", f"../{home.name}/tiny", "runs/../tiny", "link//"):
        words[words.index("--model") + 1] = spelling
        ended = ra3(home, *words)
        assert ended.returncode == 0, ended.stderr
    words[words.index("--model") + 1] = "runs/whole/model"
    refused(ra3(home, *words), 'model.path: "tiny" -> "runs/whole/model"')


# Records that are lost or have changed


def test_what_an_attempt_runs_on_otherwise_is_told(home, whole):
    folder = copy(whole, "upgraded")
    facts = json.loads((folder / "environment.json").read_text())
    facts["versions"] |= {"transformers": "5.13.1", "torch": "2.11.0", "tokenizers": "0.22.0"}
    facts["threads"], facts["code"], facts["device"] = 7, "0" * 12, "cuda"
    (folder / "environment.json").write_text(json.dumps(facts))
    said = ra3(home, *midtrain(folder.name, "--resume")).stdout
    assert "warning  this attempt runs on something else than the last: " in said
    for change in ("transformers 5.13.1 -> 5.", "threads 7 -> 1", f"code {'0' * 12} -> "):
        assert change in said
    for change in ("torch 2.11.0 -> 2.", "tokenizers 0.22.0 -> 0.", "device cuda -> cpu"):
        assert change in said
    assert "something else" not in ra3(home, *midtrain(folder.name, "--resume")).stdout
    assert json.loads((folder / "environment.json").read_text())["earlier"][-2]["versions"]["transformers"] == "5.13.1"


LISTS = {"list": "[]", "list of nothing": "null", "list cut off": '{"estep-0', "list of another kind": '{"a": [3]}'}
LOST = (*LISTS, "both lists", "metrics", "all metrics", "metrics file", "rollouts", "inputs")


@pytest.mark.parametrize("lost", LOST)
def test_a_run_that_lost_something_falls_back_and_says_so(home, whole, lost):
    folder = copy(whole, f"lost-{lost.replace(' ', '-')}")
    lists = [folder / "checkpoints" / name for name in ("manifest.json", "manifest.old.json")]
    for path in lists[: 2 if lost == "both lists" else lost in LISTS]:
        path.write_text(LISTS.get(lost, "[]"))
    name = "rollouts.jsonl" if lost == "rollouts" else "metrics.jsonl"
    if lost in ("metrics", "all metrics", "rollouts"):
        size = (folder / name).stat().st_size
        os.truncate(folder / name, 0 if lost == "all metrics" else size - 40)
    for file in ("inputs.json", "metrics.jsonl"):
        if lost in (file.removesuffix(".json"), file.replace(".jsonl", " file")):
            (folder / file).unlink()
    ended = ra3(home, *midtrain(folder.name, "--resume"))
    if lost == "both lists":
        refused(ended, "neither list of checkpoints can be read")
        return
    assert ended.returncode == 0, ended.stderr
    told = {
        **dict.fromkeys(LISTS, "warning  checkpoints/manifest.json is missing or damaged; the run goes on from "),
        "inputs": "warning  inputs.json is gone: whether model and data are those the run began with is not known",
    }.get(lost, f"warning  {name} is missing or damaged; the run goes on from ")
    assert told in ended.stdout
    for product in ("metrics.jsonl", "rollouts.jsonl", "model/model.safetensors"):
        assert (folder / product).read_bytes() == (whole / product).read_bytes(), product


# Pipes


def raises(error: BaseException):
    def action() -> None:
        raise error

    return action


HELP = (["midtrain", "--help"], ["runs", "--help"], ["--help"], ["rlvr", "--help"], ["grade", "--help"])


@pytest.mark.parametrize("words", [*HELP, ["--version"], ["runs", "list", "."]], ids=" ".join)
def test_a_reader_that_is_gone_is_told_by_the_exit_code(words):
    reader = subprocess.Popen([sys.executable, "-m", "ra3", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout and reader.stderr
    reader.stdout.close()
    assert reader.wait(60) == (2 if "list" in words else 141)
    with reader.stderr:
        assert b"bug" not in reader.stderr.read()


def test_a_run_that_nobody_reads_says_how_to_go_on(home, whole):
    """`ra3 midtrain ... | head -1`"""
    (home / "unread").mkdir()
    ended = ra3(home, *midtrain("unread"), prepare=deaf)
    assert ended.returncode == 141
    assert ended.stderr.startswith("ra3: nobody reads the output any more; stopped; go on with\n  ra3 midtrain ")
    assert ra3(home, *midtrain("unread", "--resume")).returncode == 0
    assert (home / "runs/unread/metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def deaf() -> None:
    """Makes stdout a pipe without a reader."""
    ours, other = os.pipe()
    os.close(ours)
    os.dup2(other, 1)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_closed_streams_are_no_error(closed, tmp_path):
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    code = "import os, sys; from ra3.cli import main; code = main(['runs', 'list', '.']); "
    code += f"opened = os.open('{__file__}', 0); print(code, opened, file=open('said', 'w'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, preexec_fn=close, timeout=60)
    told, opened = (tmp_path / "said").read_text().split()
    assert told == "2" and int(opened) > 2


def test_a_full_pipe_of_another_kind_is_no_broken_pipe(capsys):
    from ra3.commands.failures import exit_code

    with pytest.raises(SystemExit):
        exit_code(raises(SystemExit(3)), [])
    assert exit_code(raises(OSError(errno.ENOSPC, "full")), []) == 2
    assert Path("/dev/full").exists() and "the disk is full" in capsys.readouterr().err
