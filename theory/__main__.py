"""`python -m theory`: run every study, write `theory.json` and `theory.html`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from cyclopts import App

from ra3.commands.failures import exit_code
from ra3.run.files import disk_errors, to_json, write_atomic
from theory.claims import Finding
from theory.page import theory_page
from theory.study_iterations import study_iterations
from theory.study_length import study_length
from theory.study_oracle import study_oracle
from theory.study_parity import study_parity
from theory.study_pruning import study_pruning
from theory.study_regret import study_regret

STUDIES: tuple[Callable[[int], Finding], ...] = (
    study_oracle, study_regret, study_pruning, study_iterations, study_length, study_parity,
)  # fmt: skip

app = App(name="python -m theory", result_action="return_value", suppress_keyboard_interrupt=False)


@app.default
def main(*, out: Path = Path("runs/theory"), seed: int = 0) -> None:
    """Check the theorems of RA3 on worlds with exact answers: theory.html and theory.json, in about a minute.

    Prints one line a study. The same seed gives the same `theory.json`.

    Parameters
    ----------
    out
        Folder for theory.html and theory.json.
    seed
        Seed of the random worlds.
    """
    with disk_errors(out, "write the theory page"):
        out.mkdir(parents=True, exist_ok=True)
        findings = [_told(study, seed) for study in STUDIES]
        data = [{**asdict(finding), "verdict": finding.verdict} for finding in findings]
        text = json.dumps(to_json({"seed": seed, "findings": data}), indent=1, ensure_ascii=False)
        write_atomic(out / "theory.json", (text + "\n").encode())
        path = out / "theory.html"
        write_atomic(path, theory_page(findings, f"python -m theory --seed {seed}").encode())
    print(path)


def _told(study: Callable[[int], Finding], seed: int) -> Finding:
    began = time.monotonic()
    finding = study(seed)
    held = sum(check.holds for check in finding.holds)
    lost = sum(not check.holds for check in finding.breaks)
    print(
        f"{finding.name}: {held} of {len(finding.holds)} claims hold; "
        f"{lost} of {len(finding.breaks)} do not when taken further ({time.monotonic() - began:.1f} s)",
        flush=True,
    )
    return finding


if __name__ == "__main__":
    words = sys.argv[1:]
    raise SystemExit(exit_code(lambda: app(words, exit_on_error=False, print_error=False), words))
