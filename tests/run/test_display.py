"""What the terminal shows: few numbers, each warning once and in words, plain lines where there is no terminal."""

import io
import math

import pytest
from rich.console import Console

from ra3.run.alarms import Alarms
from ra3.run.display import SHOWN, Display, cell, duration, is_share, plain_line, show_results, sparkline, start_box
from ra3.run.folder import Run
from ra3.run.metrics import GLOSSARY

HEALTHY = {
    "dead_groups": 0.1, "entropy": 0.9, "truncated": 0.0, "think_rate": 0.4, "logp_gap_max": 1e-7, "loss": 0.3,
    "copy_rate": 0.1, "echo_rate": 0.0, "comment_tokens": 6.0,
}  # fmt: skip
SICK = {
    "dead_groups": (0.95, "score alike"),
    "entropy": (0.01, "no longer explores"),
    "truncated": (0.6, "cut by the token limit"),
    "think_rate": (0.0, "died out"),
    "copy_rate": (0.6, "the line they announce"),
    "echo_rate": (0.6, "the line before them"),
    "comment_tokens": (1.2, "shrunk from 6 to 1.2 tokens"),
}


def screen(terminal: bool = False, width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, legacy_windows=False)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("key", SICK)
def test_a_dying_signal_is_told_once_after_three_steps(key):
    alarms = Alarms()
    assert alarms.check("estep", HEALTHY) == []
    value, words = SICK[key]
    told = [alarms.check("estep", {**HEALTHY, key: value}) for _ in range(6)]
    assert [len(texts) for texts in told] == [0, 0, 1, 0, 0, 0]
    assert words in told[2][0] and told[2][0].startswith("estep: ")


def test_an_alarm_needs_three_steps_in_a_row():
    alarms = Alarms()
    for _ in range(5):
        assert alarms.check("rlvr", {"dead_groups": 0.95}) == []
        assert alarms.check("rlvr", {"dead_groups": 0.95}) == []
        assert alarms.check("rlvr", {"dead_groups": 0.5}) == []


def test_gap_and_broken_numbers_are_told_at_once():
    alarms = Alarms()
    assert "0.002" in alarms.check("rlvr", {"logp_gap_max": 0.002})[0]
    assert "loss is not finite" in alarms.check("mstep", {"loss": "nan"})[0]
    assert "grad_norm is not finite" in alarms.check("rlvr", {"grad_norm": math.inf, "loss": 1.0})[0]


def test_thinking_always_is_told_and_missing_numbers_never():
    alarms = Alarms()
    assert sum(len(alarms.check("estep", {"think_rate": 1.0})) for _ in range(4)) == 1
    assert all(not alarms.check("mstep", {"think_rate": 0.0}) for _ in range(4))
    assert all(not Alarms().check("estep", {}) for _ in range(4))


def test_every_stage_shows_at_most_eight_explained_numbers():
    assert all(len(keys) <= 8 and set(keys) <= set(GLOSSARY) for keys in SHOWN.values())


def test_without_a_terminal_one_plain_line_per_ten_steps():
    console = screen()
    with Display(console=console, every=10) as display:
        for step in range(24):
            display.update("estep", 0, step, 24, {"elbo": -3.0 + step / 10, "think_rate": 0.4, "hidden": 1.0})
    lines = shown(console).splitlines()
    assert [line.split("  step ")[1].split("/")[0] for line in lines] == ["1", "11", "21", "24"]
    assert "elbo -0.7" in lines[-1] and "think_rate 0.4" in lines[-1] and "hidden" not in lines[-1]
    assert "\x1b" not in shown(console)


def test_on_a_terminal_a_live_table():
    console = screen(terminal=True)
    with Display(console=console) as display:
        for step in range(4):
            display.update("rlvr", 0, step, 4, {"pass_rate": 0.1 * step, "reward": 0.5})
        display.update("custom", 0, 0, 1, {f"k{i}": 1.0 for i in range(20)})
    text = shown(console)
    assert "pass_rate" in text and "at first" in text and "▁▃▆█" in text
    assert "k15" in text and "k9" not in text  # eight numbers, in order of their names


def test_warnings_reach_the_screen_and_the_log(tmp_path):
    console = screen()
    with Run.create(tmp_path, "a", {}, "rlvr") as run, Display(run, console) as display:
        for step in range(5):
            display.update("rlvr", 0, step, 5, {"dead_groups": 1.0})
        log = run.path("logs", "attempt_1.log").read_text()
    assert shown(console).count("score alike") == 1 and log.count("warning: rlvr: in more than 90%") == 1


def test_start_box_names_the_run_and_three_commands(tmp_path):
    console = screen(width=240)
    with Run.create(tmp_path, "a", {}, "midtrain") as run:
        start_box(run, "[bold]models/x[/]", 7, "cpu", "tiny-cpu.toml", console)
    text = shown(console)
    for part in ("a (new)", "[bold]models/x[/]", "7", "cpu", "tiny-cpu.toml", "tail -f", "--resume", "ra3 report"):
        assert part in text


def test_results_show_means_with_intervals(tmp_path):
    console = screen()
    row = {"band": "edge", "metric": "pass@1", "mean": 0.613, "low": 0.57, "high": 0.652}
    other = {"model": "ntp", "band": "hard", "metric": "expert_nll", "mean": 1.23456, "low": 1.2, "high": 1.3}
    show_results(
        [{"model": "ra3", **row}, {"model": "[red]", **row, "band": "hard"}, other], tmp_path / "r.html", console
    )
    text = shown(console)
    assert "61.3 [57.0, 65.2]" in text and "[red]" in text and "1.235 [1.2, 1.3]" in text and "r.html" in text
    assert "-" in str(cell(None))


def test_small_texts():
    assert [duration(s) for s in (0.4, 75, 3600 * 2 + 61)] == ["0s", "1m15s", "2h01m"]
    assert sparkline([0, 1, math.nan, 2, 3]) == "▁▃ ▆█" and sparkline([math.nan]) == "" and sparkline([2, 2]) == "▁▁"
    assert len(sparkline(list(range(1000)))) <= 32
    assert plain_line(" t ", {"a": [1.0, math.nan]}) == "t  a nan"
    assert is_share("pass@10") and is_share("comment_right") and not is_share("expert_nll")
