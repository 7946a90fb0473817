"""`python -m theory` through the command line: the page, the JSON, and what they may say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from theory.claims import Chart, Check, Finding, Series, Table, span, symbols
from theory.page import theory_page

ROOT = Path(__file__).parents[2]


def finding(holds=True, further=False):
    chart = Chart("A & B", "caption", "1 / sigma", "y", [Series("<b>", [1.0, 2.0, 8.0], [1.0, 4.0, 2.0])], log_x=True)
    table = Table("<caption>", ["head"], [["<script>alert(1)</script>"]])
    checks = [Check("claim <i>", "gamma_bar <= 1", holds)], [Check("wider", "3 & 4", further)]
    return Finding("Name", "Title", "a >= b", ["one"], *checks, [chart], [table], {"x": 1.0})


def test_a_verdict_follows_from_its_checks():
    assert finding().verdict == "holds; not where: wider"
    assert finding(further=True).verdict == "holds"
    assert finding(holds=False).verdict == "does not hold: claim <i>"


def test_the_page_escapes_and_fetches_nothing():
    page = theory_page([finding(), finding(holds=False)], "python -m theory")
    assert "1 of 2 claims hold" in page
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "γ̄ ≤ 1" in page and "claim &lt;i&gt;" in page
    assert not re.search(r'(src|href)="(?!#)', page)
    assert page.count("<svg") == 2


@pytest.mark.parametrize(
    ("findings", "failures", "limits"),
    [
        ([finding()], 0, 1), ([finding(holds=False)], 1, 1), ([finding(further=True)], 0, 0),
        ([finding(holds=False, further=True)], 1, 0), ([finding(), finding()], 0, 2), ([], 0, 0),
    ],
)  # fmt: skip
def test_what_is_expected_to_break_is_no_failure(findings, failures, limits):
    """A claim that breaks where it must hold is a failure; where it may break, a limit that is shown as such."""
    page = theory_page(findings, "x")
    assert page.count('<span class="badge bad">no') == failures
    assert page.count('<span class="badge">breaks here') == limits


def test_symbols_stay_out_of_words():
    assert symbols("eps >= steps, gamma_bar and pieces of pi, Zbar_eps") == "ε ≥ steps, γ̄ and pieces of π, Z̄ε"


def test_ranges():
    assert span([3.0, 0.5, 1.0]) == "0.5 to 3"


@pytest.mark.timeout(600)
def test_the_command_writes_page_and_json(tmp_path):
    """All studies at full size, in a process of their own: every claim holds, and the JSON tells where it does not."""
    words = [sys.executable, "-m", "theory", "--out", str(tmp_path / "t"), "--seed", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=580, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "t" / "theory.html")
    data = json.loads((tmp_path / "t" / "theory.json").read_text(encoding="utf-8"))
    findings = {one["name"]: one for one in data["findings"]}
    assert list(findings) == [
        "ELBO",
        "Regret identity",
        "Theorem 3.5",
        "Theorem 3.6",
        "Abstraction length",
        "Parity world",
    ]
    assert [check["claim"] for one in data["findings"] for check in one["holds"] if not check["holds"]] == []
    assert findings["Regret identity"]["numbers"]["largest_residual"] <= 1e-10
    assert findings["Theorem 3.6"]["numbers"]["violations"] == 0
    page = (tmp_path / "t" / "theory.html").read_text(encoding="utf-8")
    assert "Do the theorems hold here" in page and page.count("<svg") >= 15


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    words = [sys.executable, "-m", "theory", "--out", str(tmp_path / "file" / "t")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2 and "not a folder" in done.stderr and "Traceback" not in done.stderr
