"""The terminal: what begins, a live table of few numbers, alarms in words, the result tables.

Nothing here is stored and nothing reads the run folder: display receives the numbers that also go to metrics.jsonl.
"""

import math
import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ra3.run.files import number
from ra3.run.folder import Run
from ra3.run.ledger import Work, duration
from ra3.run.metrics import Alarms
from ra3.run.results import ProblemCount, Score, Table, result_tables

SIGNAL = ("dead_groups", "entropy", "logp_gap_max")
SHOWN = {
    "estep": ("elbo", "think_rate", "latent_gain", "comment_tokens", "option_duration", *SIGNAL),
    "mstep": ("nll_total", "expert_nll", "expert_nll_act", "latent_gain", "grad_norm", "learning_rate"),
    "rlvr": ("pass_rate", "reward", "advantage_std", "truncated", "infra", *SIGNAL),
}
"""The metrics that are shown, by stage."""
NUM_SHOWN, SHOWN_PROBLEMS = 8, 40
LIVE_EVERY_S, LINE_EVERY_S = 0.25, 60.0
"""Progress inside a step is shown so often on a terminal, and as lines elsewhere."""
SPARKS, SPARK_WIDTH = "▁▂▃▄▅▆▇█", 32


class Display:
    """Shows the steps of a run, and how far a long one is: on a terminal a live table, elsewhere one line per `every`
    steps, and one a minute. Close it at the end.

    run: also gets each warning in its attempt log; dtype: the number format of the model, which some alarms depend on.
    """

    def __init__(self, run: Run | None = None, console: Console | None = None, every: int = 10, dtype: str = "float32"):
        self.console = console or Console()
        self._run, self._every, self._alarms = run, every, Alarms(dtype)
        self._is_live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live: Live | None = None
        self._key: tuple[str, int] | None = None
        self._history: dict[str, list[float]] = {}
        self._table = Text()
        self._began, self._first_step = time.monotonic(), 0
        self._shown_at = self._began
        self._warnings: list[str] = []

    def update(self, stage: str, em_round: int, step: int, total: int, values: Mapping[str, float]) -> None:
        """Show step `step` (counted from 0) of `total` and say what has gone wrong, if anything."""
        if (stage, em_round) != self._key:
            self.close()
            self._key, self._history = (stage, em_round), {}
            self._began, self._first_step = time.monotonic(), step
        numbers = {key: number(value) for key, value in values.items()}
        known = [key for key in SHOWN.get(stage, ()) if key in numbers]
        for key in (known or sorted(numbers))[:NUM_SHOWN]:
            self._history.setdefault(key, []).append(numbers[key])
        done, elapsed = step - self._first_step, time.monotonic() - self._began  # since the first step was done
        left = f"{duration(elapsed)} gone, {duration(elapsed / done * (total - step - 1))} to go" if done else ""
        title = f"{stage} round {em_round}  step {step + 1}/{total}  {left}"
        if self._is_live:
            courses = [(key, f"{own[-1]:.4g}", f"{own[0]:.4g}", sparkline(own)) for key, own in self._history.items()]
            self._table = drawn(Table(title, ("", "now", "at first", "course"), courses))
            self._draw(self._table)
        elif step % self._every == 0 or step + 1 == total or self._is_due():
            line = "  ".join([title.strip(), *(f"{key} {course[-1]:.4g}" for key, course in self._history.items())])
            self._print(line)
        for text in self._alarms.check(stage, numbers):
            self.warn(text)

    def progress(self, what: str, work: Work) -> None:
        """Show how far the work in hand is: on a terminal below the table, elsewhere as a line, if one is due."""
        if work.done >= work.total or not self._is_due():
            return
        if self._is_live:
            self._draw(Text.assemble(self._table, (f"{what}: {work}", "dim")))
        else:
            self._print(f"{what}: {work}")

    def _is_due(self) -> bool:
        """Whether nothing has been shown for so long that progress is worth it."""
        return time.monotonic() - self._shown_at > (LIVE_EVERY_S if self._is_live else LINE_EVERY_S)

    def _draw(self, picture: Text) -> None:
        if not self._live:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        self._live.update(picture, refresh=True)
        self._shown_at = time.monotonic()

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._shown_at = time.monotonic()

    def warn(self, text: str) -> None:
        """A warning, kept on screen above the live table, and for the end of the run."""
        self._warnings.append(text)
        self.console.print(Text.assemble(("warning  ", "bold yellow"), text), soft_wrap=True)
        if self._run:
            self._run.log(f"warning: {text}")

    def say(self, text: str) -> None:
        """A plain sentence, kept on screen."""
        self.console.print(Text(text), soft_wrap=True)

    def remind(self) -> None:
        """Repeat the warnings of the run, which may have long scrolled by."""
        if self._warnings:
            self.console.print(Text("This run had warnings:", style="bold yellow"))
            for text in self._warnings:
                self.console.print(Text(f"  {text}"), soft_wrap=True)

    def close(self) -> None:
        """Leave the last table on screen; safe to call twice."""
        if self._live:
            self._live.update(self._table, refresh=True)
            self._live.stop()
        self._live, self._key, self._table = None, None, Text()


def sparkline(numbers: list[float]) -> str:
    """The course of a number in block characters; neighbours are averaged down to SPARK_WIDTH, gaps stay blank."""
    size = max(1, math.ceil(len(numbers) / SPARK_WIDTH))
    chunks = [[x for x in numbers[i : i + size] if math.isfinite(x)] for i in range(0, len(numbers), size)]
    means = [fmean(chunk) if chunk else math.nan for chunk in chunks]
    finite = [mean for mean in means if math.isfinite(mean)] or [0.0]
    low, span = min(finite), (max(finite) - min(finite)) or math.inf
    marks = [SPARKS[round((mean - low) / span * 7)] if math.isfinite(mean) else " " for mean in means]
    return "".join(marks).rstrip()


def start_lines(run: Run, model: str, seed: int, device: str, recipe: str, console: Console | None = None) -> None:
    """Print who runs what where, and the three commands one needs next."""
    rows = [
        ("run", f"{run.name} ({f'again, attempt {run.attempt}' if run.resumed else 'new'})"),
        ("folder", str(run.folder)),
        ("model", model),
        ("seed", str(seed)),
        ("device", device),
        ("recipe", recipe),
        ("watch", f"tail -f {shlex.quote(str(run.path('metrics.jsonl')))}"),
        ("resume", run.resume_line),
        ("report", f"ra3 report {shlex.quote(str(run.folder))}"),
    ]
    lines = Text("\n").join(Text.assemble((f"{name:8}", "cyan"), value) for name, value in rows)
    (console or Console()).print(lines, soft_wrap=True)  # no frame and no break: the commands are to be copied


def show_results(scores: Iterable[Score], report: Path | None = None, console: Console | None = None) -> None:
    """Print the result tables and where the report lies."""
    console = console or Console()
    for table in result_tables(scores):
        console.print(drawn(table, _width(console)), soft_wrap=True)
    if report:
        console.print(Text(f"report: {report}"), soft_wrap=True)


def show_problems(counts: Iterable[ProblemCount], console: Console | None = None) -> None:
    """Print the problems that not every sample solved, worst first, with what went wrong; results.json has them all."""
    counts, console = list(counts), console or Console()
    odd = sorted((c for c in counts if c.passed < sum(c.reasons.values())), key=lambda c: c.passed)
    title = f"{len(counts) - len(odd)} of {len(counts)} problems solved by every sample{'; the others' if odd else ''}"
    reasons = [", ".join(f"{why} {n}" for why, n in c.reasons.items() if why != "passed") for c in odd]
    rows = [(c.id, str(c.passed), str(c.judged), why) for c, why in zip(odd[:SHOWN_PROBLEMS], reasons, strict=False)]
    table = Table(title, ("problem", "passed", "judged", "reasons"), rows)
    console.print(drawn(table, _width(console)), soft_wrap=True)
    if len(odd) > SHOWN_PROBLEMS:
        console.print(Text(f"{len(odd) - SHOWN_PROBLEMS} more: see problems in results.json"))


def _width(console: Console) -> float:
    return console.width if console.is_terminal else math.inf


def drawn(table: Table, width: float = math.inf) -> Text:
    """A table below its title, for so many characters; the title alone where it has no rows."""
    heads, *rows = table.aligned(width).split("\n") if table.rows else [""]
    body = [Text(heads, style="cyan"), *map(Text, rows), Text()] if rows else []
    return Text("\n").join([Text(table.title, style="bold"), *body])
