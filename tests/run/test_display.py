"""What the terminal shows: few numbers, each warning once and in words, plain lines where there is no terminal."""

import io
import math
from contextlib import closing

import pytest
from rich.console import Console

from ra3.model.update import score
from ra3.rollout.interleave import expert_rows
from ra3.run.display import SHOWN, Alarms, Display, show_problems, show_results, sparkline, start_lines
from ra3.run.folder import Run
from ra3.run.ledger import Work, duration, watched_by
from ra3.run.metrics import GLOSSARY
from ra3.run.results import Cell, ProblemCount, Score, Table, is_share, result_tables

HEALTHY = {
    "dead_groups": 0.1, "entropy": 0.9, "truncated": 0.0, "think_rate": 0.4, "logp_gap_max": 1e-7, "loss": 0.3,
    "copy_rate": 0.1, "echo_rate": 0.0, "comment_tokens": 6.0,
}  # fmt: skip
SICK = {
    "dead_groups": (0.95, "score alike"),
    "entropy": (0.01, "no longer explores"),
    "truncated": (0.6, "cut by the token limit"),
    "think_rate": (0.0, "died out"),
    "copy_rate": (0.6, "what the code says anyway"),
    "echo_rate": (0.6, "look back, not ahead"),
    "comment_tokens": (1.2, "comment_tokens is 1.2, at first 6"),
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
    assert words in told[2][0] and told[2][0].startswith(f"estep: {key} is {value:g}")


def test_an_alarm_needs_three_steps_in_a_row():
    alarms = Alarms()
    for _ in range(5):
        assert alarms.check("rlvr", {"dead_groups": 0.95}) == []
        assert alarms.check("rlvr", {"dead_groups": 0.95}) == []
        assert alarms.check("rlvr", {"dead_groups": 0.5}) == []


def test_gap_and_broken_numbers_are_told_at_once():
    alarms = Alarms()
    assert all(alarms.check("rlvr", {"logp_gap_max": gap}) == [] for gap in (1e-6, 1e-4, 9e-5))
    assert "0.00011" in alarms.check("rlvr", {"logp_gap_max": 1.1e-4})[0]
    assert "0.002" in alarms.check("estep", {"logp_gap_max": 0.002})[0]
    narrow = Alarms("bfloat16")
    assert narrow.check("rlvr", {"logp_gap_max": 0.01}) == [] and narrow.check("rlvr", {"logp_gap_max": 0.011})
    assert "loss is not finite" in alarms.check("mstep", {"loss": "nan"})[0]
    assert "grad_norm is not finite" in alarms.check("rlvr", {"grad_norm": math.inf, "loss": 1.0})[0]


def test_thinking_always_is_told_and_missing_numbers_never():
    alarms = Alarms()
    assert sum(len(alarms.check("estep", {"think_rate": 1.0})) for _ in range(4)) == 1
    assert all(not alarms.check("mstep", {"think_rate": 0.0}) for _ in range(4))
    assert all(not Alarms().check("estep", {}) for _ in range(4))


def test_thinking_that_dies_is_told_before_it_is_dead_and_again_at_the_end():
    console = screen()
    with closing(Display(console=console)) as display:
        for step, rate in enumerate((0.1, 0.06, 0.019, 0.015, 0.012, 0.011)):
            display.update("estep", 0, step, 6, {"think_rate": rate})
        at_once = shown(console).count("died out")
        display.remind()
    assert at_once == 1 and "think_rate is 0.012, at first 0.1" in shown(console)
    assert shown(console).count("died out") == 2 and "midtrain.estep.learning_rate" in shown(console).splitlines()[-1]


def test_every_stage_shows_at_most_eight_explained_numbers():
    assert all(len(keys) <= 8 and set(keys) <= set(GLOSSARY) for keys in SHOWN.values())


def test_without_a_terminal_one_plain_line_per_ten_steps():
    console = screen()
    with closing(Display(console=console, every=10)) as display:
        for step in range(24):
            display.update("estep", 0, step, 24, {"elbo": -3.0 + step / 10, "think_rate": 0.4, "hidden": 1.0})
    lines = shown(console).splitlines()
    assert [line.split("  step ")[1].split("/")[0] for line in lines] == ["1", "11", "21", "24"]
    assert "elbo -0.7" in lines[-1] and "think_rate 0.4" in lines[-1] and "hidden" not in lines[-1]
    assert "\x1b" not in shown(console)


def test_on_a_terminal_a_live_table():
    console = screen(terminal=True)
    with closing(Display(console=console)) as display:
        for step in range(4):
            display.update("rlvr", 0, step, 4, {"pass_rate": 0.1 * step, "reward": 0.5})
        display.update("custom", 0, 0, 1, {f"k{i}": 1.0 for i in range(20)})
    text = shown(console)
    assert "pass_rate" in text and "at first" in text and "▁▃▆█" in text
    assert "k15" in text and "k9" not in text  # eight numbers, in order of their names


def test_warnings_reach_the_screen_and_the_log(tmp_path):
    console = screen()
    with Run.create(tmp_path, "a", {}, "rlvr") as run, closing(Display(run, console)) as display:
        for step in range(5):
            display.update("rlvr", 0, step, 5, {"dead_groups": 1.0})
        log = run.path("logs", "attempt_1.log").read_text()
    assert (
        shown(console).count("score alike") == 1
        and log.count("warning: rlvr: dead_groups is 1. Healthy: below 0.5. Sick: above 0.9: ") == 1
    )


def test_start_lines_name_the_run_and_three_commands_each_in_one_line(tmp_path):
    console = screen(width=40)
    with Run.create(tmp_path, "a", {}, "midtrain") as run:
        start_lines(run, "[bold]models/x[/]", 7, "cpu", "tiny-cpu.toml", console)
        resume = run.resume_line
    text = shown(console)
    report = f"ra3 report {run.folder}\n"
    for part in ("a (new)", "[bold]models/x[/]", "7", "cpu", "tiny-cpu.toml", "tail -f", resume, report):
        assert part in text


def test_results_show_means_with_intervals(tmp_path):
    console = screen()
    scores = [
        Score("ra3", "edge", "pass@1", 0.613, 0.57, 0.652),
        Score("[red]", "hard", "pass@1", 0.613, 0.57, 0.652),
        Score("ntp", "hard", "expert_nll", 1.23456, 1.2, 1.3),
    ]
    show_results(scores, tmp_path / "r.html", console)
    text = shown(console)
    assert "61.3 [57.0, 65.2]" in text and "[red]" in text and "1.235 [1.2, 1.3]" in text and "r.html" in text


def test_problems_that_not_every_sample_solved_are_shown_worst_first():
    console = screen()
    counts = [
        ProblemCount("m", "edge", "f-1", 20, 18, {"passed": 18, "wrong_answer": 2}),
        ProblemCount("m", "edge", "f-2", 20, 3, {"timeout": 17, "passed": 3}),
        ProblemCount("m", "edge", "f-3", 20, 20, {"passed": 20}),
    ]
    show_problems(counts, console)
    text = shown(console)
    assert "1 of 3 problems solved by every sample; the others" in text and "wrong_answer 2" in text
    assert text.index("f-2") < text.index("f-1") and "f-3" not in text


def test_tables_have_one_order_and_write_each_number_once():
    scores = [
        Score(model, band, metric, 0.5, 0.4, 0.6, problems=10, samples=4)
        for metric in ("pass@10", "pass@2")
        for band in ("own", "hard", "known")
        for model in ("other", "ra3+rlvr", "ntp", "base")
    ]
    scores += [Score("ra3", "heldout", "nll", -0.25, -0.5, 1.5), Score("ntp", "heldout", "boundary_f1", 0.8)]
    tables = result_tables([*scores, Score("ra3", "heldout", "nothing", math.nan)])
    assert [table.title.split(",")[0] for table in tables] == ["pass@2", "pass@10", "heldout"]
    assert tables[0].title == "pass@2, in percent, with 95% interval; 10 problems each, 4 samples a problem."
    assert [str(head) for head in tables[0].heads] == ["", "known", "hard", "own"]
    assert [str(row[0]) for row in tables[0].rows] == ["base", "NTP", "RA3 + RLVR", "other"]
    assert tables[0].rows[0][1] == Cell("50.0", "40.0", "60.0", model="base", span=(0.4, 0.5, 0.6))
    assert [[str(cell) for cell in row] for row in tables[2].rows] == [
        ["nll", "-", "-0.25 [-0.5, 1.5]"], ["boundary f1, %", "80.0", "-"],
    ]  # fmt: skip
    assert tables[2].rows[0][2] == Cell("-0.25", "-0.5", "1.5", model="ra3", span=(0.0, 0.125, 1.0))
    assert tables[2].aligned().splitlines()[1] == "nll                -  -0.25 [-0.5, 1.5]"
    assert max(map(len, tables[0].aligned(40).splitlines())) <= 40 < len(tables[0].aligned().splitlines()[0])
    assert tables[2].markdown().splitlines()[2] == "| nll | - | -0.25 [-0.5, 1.5] |"


@pytest.mark.parametrize(
    ("width", "lines"), [(6, ["a  b", "x  1", "", "a  cc", "x   2", "", "a  d", "x  3"]), (9, 5), (99, 2)]
)
def test_columns_that_do_not_fit_stand_below(width, lines):
    """Widths 1, 1, 2 and 1 with two blanks between: all take 11, the first three 8, two of them at most 5."""
    found = Table("", ("a", "b", "cc", "d"), [("x", "1", "2", "3")]).aligned(width).splitlines()
    assert found == lines or len(found) == lines


def test_small_texts():
    assert [duration(s) for s in (0.04, 2.34, 75, 3600 * 2 + 61)] == ["40ms", "2.3s", "1m15s", "2h01m"]
    assert sparkline([0, 1, math.nan, 2, 3]) == "▁▃ ▆█" and sparkline([math.nan]) == "" and sparkline([2, 2]) == "▁▁"
    assert len(sparkline(list(range(1000)))) <= 32
    assert is_share("pass@10") and is_share("comment_right") and not is_share("expert_nll")


def test_a_long_step_says_how_far_it_is_once_a_minute(monkeypatch):
    console, now = screen(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with closing(Display(console=console)) as display, watched_by(lambda w: display.progress("mstep-0, training", w)):
        work = Work(10_000)
        for _ in range(100):
            now[0] += 2.0
            work.advance(100)
    lines = shown(console).splitlines()
    assert len(lines) == 3 and lines[0] == "mstep-0, training: 3,100 of 10,000 tokens, 50 a second, 2m18s left"


def test_on_a_terminal_progress_stands_below_the_table_and_is_gone_in_the_end(monkeypatch):
    console, now = screen(terminal=True), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with closing(Display(console=console)) as display, watched_by(lambda w: display.progress("rlvr, rollouts", w)):
        work = Work(100)
        for _ in range(4):
            now[0] += 0.2
            work.advance(10)
        display.update("rlvr", 0, 0, 1, {"pass_rate": 0.5})
    text = shown(console)
    assert text.count("rlvr, rollouts: ") == 2 and text.rindex("pass_rate") > text.rindex("rlvr, rollouts: ")


def test_work_that_nobody_watches_is_done_all_the_same():
    work = Work(10)
    work.advance(5)
    assert work.done == 5 and str(work).startswith("5 of 10 tokens")


def test_passes_of_the_engine_are_work(policy, documents):
    rows, told = expert_rows(policy, documents), []
    with watched_by(lambda work: told.append((work.done, work.total))):
        score(policy, rows, rows.expert, 64)
    total = int(rows.length.sum())
    assert told[-1] == (total, total) and len(told) > 1
