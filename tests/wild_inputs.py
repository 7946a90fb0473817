"""Wild inputs, made by hypothesis: settings, recipes, rows, problems, samples to grade, texts to cut into steps.

    python tests/wild_inputs.py --minutes 30

Each check holds for any input whatever: what comes out is a result, a quarantine entry or one UserError; nothing else.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from step_checks import check_unchanged, steps

from ra3.benchmarks.samples import FORMS, read_samples
from ra3.commands.inputs import ProblemSet
from ra3.config.help import settings as all_settings
from ra3.config.load import load, parse
from ra3.data.corpus import read
from ra3.data.latents import remove
from ra3.errors import UserError
from ra3.grading.problem_tests import CallTest, StdioTest
from ra3.grading.problems import Problem, program
from ra3.grading.problems import load as load_problems
from ra3.run.files import fingerprint_items, to_json
from ra3.run.folder import config_changes

FOLDER = Path(tempfile.mkdtemp(prefix="ra3-wild-"))
ODD = [
    "", "nan", "inf", "-inf", "none", "1e400", "0", "-1", "9" * 400, "\ud800", "\0", "[", "[1,", "true", "{}", "é",
]  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ODD)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
KEYS = st.sampled_from([*all_settings(), "run", "midtrain.estep", "run.sed", "x", "", ".", "run..seed", "midtrain"])
ROWS = st.dictionaries(st.sampled_from(["text", "context", "id", "x", "txet"]), VALUES, max_size=4)
PROBLEM_KEYS = ["id", "prompt", "entry_point", "tests", "stop", "meta", "answer"]
TESTS = st.fixed_dictionaries({}, optional=dict.fromkeys(["args", "expected", "stdin", "stdout"], VALUES))
PROBLEMS = st.dictionaries(st.sampled_from(PROBLEM_KEYS), VALUES | st.lists(TESTS, max_size=2), max_size=6)
ASKED = [
    Problem("HumanEval/0", "def f(x):\n", "f", (CallTest((1,), 1),)),
    Problem("Mbpp/2", "Say x.", "f", (CallTest((1,), 1),), prefix="import re\n", answer="fenced"),
    Problem("echo", "# say it\n", None, (StdioTest("a", "a"),), suffix="pass"),
]
TASKS = st.sampled_from([*(problem.id for problem in ASKED), "HumanEval/9", 2, 0, "0", "ech"]) | VALUES
REPLIES = st.sampled_from(["", "x = 1\n", "```python\nx\n```", "</think>```", "\ud800", "\0", "\u2028\x85"]) | VALUES
SAMPLE_KEYS = dict.fromkeys(["task_id", "question_id"], TASKS) | dict.fromkeys(FORMS, REPLIES) | {"x": VALUES}
SAMPLES = st.fixed_dictionaries({}, optional=SAMPLE_KEYS) | st.fixed_dictionaries(
    {"task_id": st.sampled_from([problem.id for problem in ASKED]), "completion": st.text(max_size=9)}
)
TEXTS = st.text(st.sampled_from("ab1 \t\f\n\r\\#\"'()[]{}:=,.@;f\0\u2028\x0b\x85é日\ufeff\ud800"), max_size=80)
LINES = [
    "x = 1\n", "if x:\n", "    y\n", "(", "f'''{x}\n", "\\\n", "# c\n", "@d\n", "def f():\n", "'''", '"', "\r", "\n",
]  # fmt: skip
CODE = st.lists(st.sampled_from(LINES), max_size=20).map("".join)
NAMES = st.sampled_from(["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.jsonl.xz", "a.parquet", "a.py", "A.JSONL"])


CHECKS: dict[Callable[..., None], tuple[st.SearchStrategy, ...]] = {}
"""Every check, and what its arguments are made of."""


def given_any(*inputs: st.SearchStrategy) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds a check of any such inputs."""

    def add(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS[check] = inputs
        return check

    return add


def told(action: Callable[[], Any]) -> Any:
    """What an action gives, or None if it refuses with a UserError that says something in few lines."""
    try:
        return action()
    except UserError as error:
        message = str(error)
        assert message.strip() and "Traceback" not in message and len(message) < 20_000
        message.encode("utf-8", "backslashreplace")
        return None


def as_json(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode("utf-8", "surrogatepass") for row in rows)


def damaged(data: bytes, place: int, byte: int) -> bytes:
    """The data with one byte changed."""
    return data[: place % len(data)] + bytes([byte]) + data[place % len(data) + 1 :] if data else data


def files(rows: st.SearchStrategy[dict]) -> st.SearchStrategy[bytes]:
    """Files of such rows, compressed or not, whole or damaged, and of any bytes."""
    whole = st.lists(rows, max_size=5).map(as_json)
    packed = whole | whole.map(gzip.compress)
    return st.binary(max_size=120) | packed | st.builds(damaged, packed, st.integers(0), st.integers(0, 255))


@given_any(st.dictionaries(KEYS, VALUES, max_size=4))
def settings_from_code(overrides: dict) -> None:
    """Any values for any keys make a config that is its own recipe, or one message."""
    config = told(lambda: load(overrides=overrides))
    if config is not None:
        path = FOLDER / "config.json"
        text = json.dumps(to_json(config.model_dump()), ensure_ascii=False)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        again = told(lambda: load([path]))
        assert again is None or config_changes(again.model_dump(), config.model_dump()) == []


@given_any(st.lists(st.text(max_size=12) | KEYS.map(lambda k: f"--{k}") | st.sampled_from(ODD), max_size=6))
def settings_from_flags(words: list[str]) -> None:
    """Any command line."""
    files, overrides = parse(words)
    told(lambda: load([file for file in files if "/" not in file], overrides))


@given_any(st.binary(max_size=80) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.booleans())
def recipes(data: bytes, is_json: bool) -> None:
    """Any bytes as a recipe."""
    path = FOLDER / ("recipe.json" if is_json else "recipe.toml")
    path.write_bytes(data)
    told(lambda: load([path]))


@given_any(st.dictionaries(KEYS, VALUES, max_size=3))
def json_recipes(tree: dict) -> None:
    """Any JSON as a recipe."""
    path = FOLDER / "recipe.json"
    path.write_bytes(as_json([tree]))
    told(lambda: load([path]))


@given_any(files(ROWS), NAMES, st.sampled_from(["file", "function"]), st.booleans())
def corpora(data: bytes, name: str, unit: str, filtered: bool) -> None:
    """Any bytes as a corpus: documents that are text with ids of their own, and reasons for everything else."""
    path = FOLDER / name
    path.write_bytes(data)
    corpus = told(lambda: read(path, max_bad=1, unit=unit, filtered=filtered))
    path.unlink()
    if corpus is None:
        return
    assert len({d.id for d in corpus.documents}) == len(corpus.documents)
    assert all(d.text.strip() and d.text.encode() and "\0" not in d.text for d in corpus.documents)
    assert all(row.where and row.reason and "\n" not in row.reason for row in corpus.quarantine)
    corpus.write_quarantine(FOLDER / "quarantine.jsonl")
    assert len((FOLDER / "quarantine.jsonl").read_text().splitlines()) == len(corpus.quarantine)


@given_any(files(PROBLEMS | ROWS))
def problem_files(data: bytes) -> None:
    """Any bytes as problems."""
    path = FOLDER / "problems.jsonl"
    path.write_bytes(data)
    found = told(lambda: load_problems(path))
    assert found is None or all(problem.tests for problem in found)


@given_any(files(SAMPLES), st.sampled_from(["s.jsonl", "s.jsonl.gz", "s.json", "s.parquet", "s.txt"]))
def sample_files(data: bytes, name: str) -> None:
    """Any bytes as samples to grade: each becomes a program of a problem that was asked."""
    path = FOLDER / name
    path.write_bytes(data)
    samples = told(lambda: read_samples(path, ASKED))
    path.unlink()
    if samples is not None:
        answered = {sample.problem.id for sample in samples}
        part = ProblemSet("samples", ASKED).in_part(answered)
        assert {problem.id for problem in part.problems} == answered == {p.id for p in ASKED} - part.left_out.keys()
        assert all(isinstance(program(*sample), str) for sample in samples) and len(fingerprint_items(samples)) == 16


@given_any(TEXTS | CODE, st.just("") | TEXTS | CODE, st.sampled_from(["line", "statement"]), st.integers(0, 7))
def step_splitter(text: str, context: str, kind: str, offset: int) -> None:
    """Any text is cut without loss, and comments between its steps change no meaning."""
    check_unchanged(text, context, kind, offset)


@given_any(st.text(max_size=100))
def sentences(text: str) -> None:
    """Any text as sentences."""
    assert "".join(step.text for step in steps(text, kind="sentence")) == text


@given_any(TEXTS, st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=4))
def latent_spans(text: str, spans: list[tuple[int, int]]) -> None:
    """Spans from a damaged manifest never make text that was not there."""
    assert set(remove(text, spans)) <= set(text)


def run(check: Callable[..., None], examples: int, number: int = 0) -> None:
    """`examples` inputs of one check; the failing input is printed by hypothesis."""
    quiet = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
    )
    seed(number)(quiet(given(*CHECKS[check])(check)))()


def fuzz(minutes: float) -> str:
    """All checks in turn until the time is over; a sentence about it. The first failure is raised."""
    end, done = time.monotonic() + 60 * minutes, Counter()
    for number in itertools.count(int.from_bytes(os.urandom(4), "big")):
        for check in CHECKS:
            run(check, 200, number)
            done[check.__name__] += 200
            if time.monotonic() > end:
                counts = ", ".join(f"{name} {count:,}" for name, count in done.items())
                return f"{minutes:g} minutes, {done.total():,} inputs, nothing found: {counts}"
    raise AssertionError


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    print(fuzz(parser.parse_args().minutes))
