"""`ra3 demo`: the comparison {base, NTP, RA3} on one seed, with RLVR from both, in this process, and one report of all.

Every part is a command as one would type it, in a run folder of its own inside the demo's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ra3 import ranks
from ra3.commands.run import COMMANDS, RunOptions
from ra3.compare.definition import AFTER, BASE, Comparison, system_of
from ra3.config.help import settings
from ra3.config.settings import Config
from ra3.measure.pass_at_k import grouped, paired_differences
from ra3.report import write_report
from ra3.run.display import show_results
from ra3.run.files import disk_errors, to_json, write_atomic
from ra3.run.inspect import finished_run
from ra3.run.results import Difference, Results
from ra3.seeds import derive

METHODS = ("ntp", "ra3")
PAIRS = (("ra3", BASE), ("ra3", "ntp"), ("ra3" + AFTER, "ntp" + AFTER))
"""The differences that the report shows."""


def run(config: Config, options: RunOptions) -> Path:
    """The whole demo; returns its folder. Restarting it with --resume does only what is missing."""
    folder, done = Path(config.run.out) / (config.run.name or "demo"), []
    for cell in comparison(config).cells(folder):
        for command in cell.commands:
            if not ranks.from_first(lambda part=command: options.resume and part.is_finished()):
                system = system_of(cell.variant, command.stage)
                COMMANDS[command.name](command.config(), replace(options, command=command.name, system=system))
            done.append(ranks.from_first(lambda part=command: finished_run(part.folder).results))
    if ranks.rank():
        return folder
    results = Results.merge(done)
    results.differences.extend(differences(results, derive(config.run.seed, "differences")))
    with disk_errors(folder, "write results.json"):
        write_atomic(folder / "results.json", json.dumps(to_json(results.to_json()), indent=2).encode())
    show_results(results.scores, write_report(folder))
    return folder


def comparison(config: Config) -> Comparison:
    """The demo as a comparison whose variants have these settings."""
    given = {key: value for key, value in config.flat().items() if value != settings()[key].default}
    variants = {BASE: given, **{method: {**given, "midtrain.method": method} for method in METHODS}}
    return Comparison("demo", (), (config.run.seed,), variants, METHODS, ("ntp",), seed_in_names=False)


def differences(results: Results, seed: int) -> list[Difference]:
    """RA3 against the base and against NTP, before and after RLVR, on the same problems."""
    counts = grouped(results.problems, lambda count: count.model)
    return [row for a, b in PAIRS for row in paired_differences(counts[a], counts[b], seed)]
