"""`ra3 theory`: run every study, write `theory.json` and `theory.html`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ra3.config.tree import plain
from ra3.run.files import disk_errors, write_atomic
from theory.claims import Finding
from theory.page import theory_page
from theory.study_iterations import study_iterations
from theory.study_length import study_length
from theory.study_oracle import study_oracle
from theory.study_parity import study_parity
from theory.study_pruning import study_pruning
from theory.study_regret import study_regret

STUDIES: tuple[Callable[[int], Finding], ...] = (
    study_oracle,
    study_regret,
    study_pruning,
    study_iterations,
    study_length,
    study_parity,
)


def run(out: Path, seed: int = 0) -> Path:
    """Check everything, print one line a study, and return the page's path. Same seed, same `theory.json`."""
    with disk_errors(out, "write the theory page"):
        out.mkdir(parents=True, exist_ok=True)
        findings = [_told(study, seed) for study in STUDIES]
        data = [{**asdict(finding), "verdict": finding.verdict} for finding in findings]
        text = json.dumps(plain({"seed": seed, "findings": data}), indent=1, ensure_ascii=False)
        write_atomic(out / "theory.json", (text + "\n").encode())
        path = out / "theory.html"
        write_atomic(path, theory_page(findings, f"ra3 theory --seed {seed}").encode())
    return path


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
