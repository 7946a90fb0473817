"""The soak of perf/sandbox_soak.py, in small: the full one takes 100,000 programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_programs_leave_nothing_behind():
    programs = "100000" if os.environ.get("RA3_FULL") == "1" else "300"
    command = [sys.executable, "perf/sandbox_soak.py", "--programs", programs, "--kills", "3"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong or lost: []; grown: False; more files: False; left: False" in done.stdout
