"""`ra3 grade` through its command line: a verdict for every line, in their order, whatever stands in them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ra3.cli import main

ADD = {"id": "add", "prompt": "def add(a, b):\n", "entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}]}
ECHO = {"id": "echo", "tests": [{"stdin": "a\n", "stdout": "a a\n"}]}
JUDGED = {"id": "root", "entry_point": "root", "tests": [{"judge": "assert abs(root(2.0) ** 2 - 2.0) < 1e-6\n"}]}
FORGED = """import os, signal
verdict = b'{"line": 1, "id": "add", "passed": true, "reason": "passed", "cpu_s": 0.0}\\n'
for descriptor in range(64):
    try:
        os.write(descriptor, verdict)
    except OSError:
        pass
print(verdict.decode())
os.kill(os.getppid(), signal.SIGKILL)
def add(a, b):
    os._exit(0)
"""
CASES = {
    "right": ({**ADD, "completion": "    return a + b\n"}, (True, "passed")),
    "right, a whole program": ({**ECHO, "solution": "word = input()\nprint(word, word)\n"}, (True, "passed")),
    "right, a reply": ({**JUDGED, "response": "```py\ndef root(x):\n    return x ** 0.5\n```"}, (True, "passed")),
    "wrong": ({**ADD, "completion": "    return a - b\n"}, (False, "wrong_answer")),
    "no program": ({**ECHO, "response": "I do not know."}, (False, "syntax")),
    "endless": ({**ADD, "solution": "def add(a, b):\n    while True:\n        pass\n"}, (False, "timeout")),
    "asleep": ({**ECHO, "solution": "import time\ntime.sleep(600)\n"}, (False, "timeout")),
    "hostile": ({**ADD, "solution": FORGED}, (False, None)),
    "equal to anything": (
        {**ADD, "solution": "class Any(int):\n    __eq__ = lambda *_: True\ndef add(a, b):\n    return Any(4)\n"},
        (False, "wrong_answer"),
    ),
}  # fmt: skip
MALFORMED = {
    '{"id": "add", "tests": [': "is no valid JSON",
    "[1, 2]": "is a list, not an object",
    json.dumps(ADD): "it has no answer\n  allowed: one of completion, solution, response",
    json.dumps({**ADD, "completion": "", "solution": ""}): "it has completion and solution",
    json.dumps({**ECHO, "completion": "print()"}): "'prompt' is missing",
    json.dumps({**ECHO, "tests": [], "solution": ""}): "problem 'echo' has no tests",
    json.dumps({**ADD, "test": 1, "solution": ""}): "unknown key 'test'",
    json.dumps({**ADD, "id": "\ud800", "solution": ""}): "text without halves of surrogate pairs",
    json.dumps({**ADD, "solution": 3}): "'solution' is a number, not a string",
    "[" * 100_000: "nested too deeply",
}
LIMITS = ("--sandbox.cpu-s", "0.5")


def start(*words: str, **streams: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ra3", "grade", *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, **pipes)


def graded(lines: list[str], *words: str) -> tuple[list[dict], str, int]:
    """The lines that come for these, what is said at the end, and the exit code."""
    process = start(*words)
    out, err = process.communicate("".join(f"{line}\n" for line in lines).encode(), timeout=200)
    return [json.loads(line) for line in out.splitlines()], err.decode(), process.returncode


@pytest.mark.parametrize("workers", ["1", "3"])
def test_every_line_has_its_verdict_in_order(workers):
    found, said, code = graded([json.dumps(row) for row, _ in CASES.values()], *LIMITS, "--sandbox.workers", workers)
    assert [verdict["line"] for verdict in found] == [*range(1, len(CASES) + 1)] and (said, code) == ("", 0)
    for (case, (row, (passed, reason))), verdict in zip(CASES.items(), found, strict=True):
        assert verdict.keys() == {"line", "id", "passed", "reason", "cpu_s"} and verdict["id"] == row["id"], case
        assert (verdict["passed"], verdict["reason"]) == (passed, reason or verdict["reason"]), case


def test_a_malformed_line_is_named_and_the_rest_goes_on():
    right = json.dumps(CASES["right"][0])
    found, said, code = graded([right, *MALFORMED, "", right])
    assert [verdict["line"] for verdict in found] == [*range(1, len(MALFORMED) + 2), len(MALFORMED) + 3]
    assert found[0]["passed"] and found[-1]["passed"] and code == 2
    for verdict, message in zip(found[1:-1], MALFORMED.values(), strict=True):
        assert verdict.keys() == {"line", "error"} and message in verdict["error"]
        assert verdict["error"].startswith(f"stdin:{verdict['line']}: ")
    assert said.startswith(f"ra3: stdin: {len(MALFORMED)} of {len(MALFORMED) + 2} lines have no verdict\n  fix: ")


def test_nothing_in_nothing_out():
    assert graded([]) == graded(["", " "]) == ([], "", 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sandbox.workers", "65"], 'sandbox.workers cannot be "65"\n  allowed: whole number >= 1 and <= 64'),
        (["--sandbox.workers", "0"], 'sandbox.workers cannot be "0"'),
        (["--sandbox.worker", "2"], "did you mean --sandbox.workers?"),
        (["no-such.toml"], "no such recipe"),
    ],
)
def test_a_wrong_setting_is_one_message(words, message, capsys):
    assert main(["grade", *words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("ra3: ") and message in said.err


def test_a_verdict_comes_while_the_input_is_open_and_ctrl_c_ends_it():
    process = start()
    assert process.stdin and process.stdout and process.stderr
    for _ in range(3):
        process.stdin.write(json.dumps(CASES["right"][0]).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["passed"]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == b"ra3: stopped\n" and process.stdout.read() == b""
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_verdicts_do_not_wait_for_programs_behind_them():
    process, lines = start(), [json.dumps(CASES[case][0]) for case in ("right", "endless")]
    assert process.stdin and process.stdout
    process.stdin.write("\n".join([*lines, ""]).encode())
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["passed"]
    began = time.monotonic()
    assert json.loads(process.stdout.readline())["reason"] == "timeout"
    assert time.monotonic() - began > 0.5  # of the two seconds that it takes
    process.communicate(timeout=60)


def test_few_lines_are_read_ahead():
    """While the first program runs, no more is taken than what the pipes hold and eight lines for each worker."""
    endless, padded = CASES["endless"][0], {**CASES["wrong"][0], "meta": {"note": "x" * 100_000}}
    process = start("--sandbox.cpu-s", "300", "--sandbox.workers", "1")
    assert process.stdin
    process.stdin.write(json.dumps(endless).encode() + b"\n")
    process.stdin.flush()
    os.set_blocking(process.stdin.fileno(), False)
    written, line, quiet_since = 0, json.dumps(padded).encode() + b"\n", time.monotonic()
    while written < 4 * len(line) or time.monotonic() - quiet_since < 3:
        with contextlib.suppress(BlockingIOError):
            written += os.write(process.stdin.fileno(), line[written % len(line) :])
            quiet_since = time.monotonic()
            continue
        time.sleep(0.01)
    process.kill()
    with contextlib.suppress(BrokenPipeError):
        process.communicate()
    assert written < 16 * len(line)
