"""The command line: instant, every mistake one message and one exit code, no stack trace."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from conftest import make_model_folder

from ra3 import __version__
from ra3.cli import SECTIONS, main
from ra3.commands.failures import exit_code
from ra3.config.help import settings
from ra3.config.load import ALIASES, parse
from ra3.errors import UserError
from ra3.run.stopping import Stopped

RA3 = (sys.executable, "-m", "ra3")


def ra3(*words: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run([*RA3, *words], capture_output=True, text=True, env=env, timeout=60, check=False)


def raises(error: BaseException):
    def action() -> None:
        raise error

    return action


# What it shows


def test_help_is_instant():
    """In half a second of a processor: the clock of a busy machine says little."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ra3("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert 0.01 < min(taken) < 0.5


def test_help_lists_the_commands():
    for words in ((), ("--help",), ("-h",)):
        result = ra3(*words)
        assert result.returncode == 0 and result.stderr == ""
        for command in (*SECTIONS, "report"):
            assert f" {command} " in result.stdout


@pytest.mark.parametrize("command", SECTIONS)
def test_help_of_a_command_lists_every_setting(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  --{key} " in text for key in settings())
    assert ("--dry-run" in text or command in ("overlap", "grade")) and "--model = --model.path" in text


def test_version():
    assert ra3("--version").stdout == f"ra3 {__version__}\n"


def test_a_closed_pipe_is_no_error():
    reader = subprocess.Popen([*RA3, "midtrain", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout and reader.stderr
    reader.stdout.close()
    assert reader.wait(60) in (1, 141)
    with reader.stderr:
        assert reader.stderr.read() == b""


@pytest.mark.parametrize("command", ["midtrain", "rlvr", "eval", "annotate"])
def test_a_dry_run_shows_the_plan_and_writes_nothing(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(make_model_folder(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    words = ["--model", ".", "--model.weights", "random", "--corpus.documents", "8", "--eval.per-band", "2"]
    assert main([command, *words, "--run.threads", "1", "--run.device", "cpu", "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert plan.startswith(f"plan of ra3 {command}") and all(f"  {key} = " in plan for key in settings())
    assert sorted(tmp_path.rglob("*")) == before


# What it reads


def test_flags_and_recipes_in_any_order():
    files, overrides = parse(["--seed", "3", "a.toml", "--eval.per-band=10", "b", "--midtrain.estep.gamma", "-1"])
    assert files == ["a.toml", "b"]
    assert overrides == {"run.seed": "3", "eval.per_band": "10", "midtrain.estep.gamma": "-1"}


def test_a_flag_without_value_swallows_no_other_flag():
    assert parse(["--model", "--seed", "3"]) == ([], {"model.path": "", "run.seed": "3"})
    assert parse(["--name=a=b", "--seed", "1", "--seed", "2"]) == ([], {"run.name": "a=b", "run.seed": "2"})


def test_short_forms_stand_for_settings():
    assert set(ALIASES.values()) <= set(settings())


# What it refuses


@pytest.mark.parametrize(
    "words, part",
    [
        (["midtrian"], 'Did you mean "midtrain"?'),
        (["midtrain", "--modle", "x"], "did you mean --model?"),
        (["midtrain", "--resme"], "did you mean --resume?"),
        (["midtrain", "--seed"], 'run.seed cannot be ""'),
        (["midtrain", "-x"], "unknown flag --x"),
        (["rlvr", "--rlvr.step", "3"], "did you mean --rlvr.steps?"),
        (["eval", "no-such.toml"], "no-such.toml: no such recipe"),
        (["midtrain", "--midtrain.estep.clip", "0.5"], "allowed: LOW,HIGH with"),
        (["annotate", "--out"], "--out"),
        (["report"], "FOLDER"),
        (["report", "no-such-run"], "there is no such run folder"),
    ],
)
def test_a_mistake_is_one_message_and_code_2(words, part, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("ra3: ")
    assert part in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(
    "words, part",
    [
        (["--model", "no-such-model"], "there is no such model folder"),
        (["--corpus", "empty"], "there is no document here"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
    ],
)
def test_a_wrong_folder_is_one_message(words, part, tmp_path, monkeypatch, capsys):
    make_model_folder(tmp_path / "tiny")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["midtrain", "--model", "tiny", "--model.weights", "random", "--run.threads", "1", *words]) == 2
    error = capsys.readouterr().err
    assert part in error and "Traceback" not in error


def test_report_names_the_runs_that_are_there(tmp_path, capsys):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "config.json").write_text("{}")
    assert main(["report", str(tmp_path / "dmeo")]) == 2
    assert str(tmp_path / "demo") in capsys.readouterr().err


# How it ends


@pytest.mark.parametrize(
    "error, code",
    [
        (UserError("wrong"), 2),
        (KeyboardInterrupt(), 130),
        (Stopped(signal.SIGINT), 130),
        (Stopped(signal.SIGTERM), 143),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes(error, code, capsys):
    assert exit_code(raises(error), ["midtrain"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_stop_shows_how_to_go_on(capsys):
    exit_code(raises(Stopped(signal.SIGINT)), ["midtrain", "--name", "a b", "--resume"])
    assert capsys.readouterr().err == "ra3: stopped; go on with\n  ra3 midtrain --name 'a b' --resume\n"
    exit_code(raises(Stopped(signal.SIGINT)), ["compare", "effect"])  # goes on by itself
    assert capsys.readouterr().err == "ra3: stopped; go on with\n  ra3 compare effect\n"
    for words in (["report"], ["overlap", "demo"], []):
        exit_code(raises(KeyboardInterrupt()), words)
        assert capsys.readouterr().err == "ra3: stopped\n"


def test_debug_shows_the_stack(monkeypatch, capsys):
    monkeypatch.setenv("RA3_DEBUG", "1")
    assert exit_code(raises(ZeroDivisionError("x")), []) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_of_a_real_process(number, code, tmp_path):
    """The recipe is a pipe, so the command is reading it once our end opens, and waits for us to write."""
    os.mkfifo(tmp_path / "config.json")
    words = [*RA3, "midtrain", f"{tmp_path}/config.json"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process, open(tmp_path / "config.json", "wb"):
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert error.startswith("ra3: stopped; go on with\n") and "Traceback" not in error
