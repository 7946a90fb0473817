"""The corpus of pinned packages and the problems of its docstrings, from two packages of a page each."""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent.parent
PERMISSIVE = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}
SHAPES = '''\
import math
import os.path

SIDES = 4


def area(width, height=1):
    """The area of a rectangle.

    >>> area(3, 4)
    12
    >>> area(5)
    5
    """
    if width < 0:
        raise ValueError(width)
    return width * height


def diagonal(width, height):
    """The diagonal, rounded down.

    >>> diagonal(3, 4)
    5
    """
    squares = [width**2, height**2]
    return math.isqrt(sum(squares))


def perimeter(width):
    """Uses a name of its module.

    >>> perimeter(2)
    8
    """
    sides = SIDES
    return sides * width


def wrong(width):
    """Its example is wrong.

    >>> wrong(2)
    8
    """
    result = width
    return result


def nothing(width):
    """Its example asks for nothing that it does.

    >>> nothing(0)
    0
    """
    result = width * 3
    return result


def has_close_elements(numbers, threshold):
    found = sorted(numbers)
    pairs = zip(found, found[1:])
    return any(b - a < threshold for a, b in pairs)


class Box:
    """A box."""

    color = "red"
    size = 3
'''
WORDS = """\
def longest(words):
    best = ""
    for word in words:
        if len(word) > len(best):
            best = word
    return best


def short(x):
    return x
"""
TASK = {
    "task_id": "HumanEval/0", "prompt": "def has_close_elements(numbers, threshold):\n",
    "entry_point": "has_close_elements",
    "canonical_solution": "    return any(abs(a - b) < threshold for a in numbers for b in numbers if a is not b)\n",
    "test": "def check(candidate):\n    assert candidate([1.0, 2.0], 0.3) == False\n",
}  # fmt: skip

SKIPPED = "def skipped(corner):\n    first = corner + 1\n    second = first * 3\n    return second\n"


def wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """Write a wheel; its SHA-256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/latin.py", b"# caf\xe9\n")
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{name}-1.0.dist-info/licenses/LICENSE", f"the licence of {name}\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def script(name: str, *words: str | Path) -> subprocess.CompletedProcess:
    """Run a script of perf."""
    return subprocess.run([sys.executable, f"perf/{name}.py", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a corpus, and the command that made it."""
    folder = tmp_path_factory.mktemp("corpus")
    skipped = ("shapes/tests/all.py", "shapes/_vendor/other.py", "shapes/mixed.py", "shapes/test_all.py")
    shapes = {"shapes/__init__.py": SHAPES} | dict.fromkeys(skipped, SKIPPED)
    copy = {"words/a.py": WORDS, "words/b.py": WORDS.replace("longest", "largest") + SHAPES[SHAPES.index("class") :]}
    pins = [("shapes", "MIT", wheel(folder, "shapes", shapes)), ("words", "Apache-2.0", wheel(folder, "words", copy))]
    lines = [f'{{name = "{n}", version = "1.0", licence = "{own}", sha256 = "{sha}"}},' for n, own, sha in pins]
    head = 'heldout = ["words"]\nskipped = ["tests", "_vendor", "shapes/mixed.py"]\n'
    head += 'tokenizer = "ra3/worlds/models/functions"\n'
    (folder / "pins.toml").write_text(f"{head}packages = [\n{''.join(lines)}\n]\n")
    (folder / "HumanEval.jsonl").write_text(json.dumps(TASK) + "\n")
    command = [folder / "out", "--wheels", folder, "--pins", folder / "pins.toml"]
    command += ["--benchmarks", f"humaneval:{folder / 'HumanEval.jsonl'}"]
    assert (done := script("python_corpus", *command)).returncode == 0, done.stderr
    return folder / "out", command


def rows(file: Path) -> list[dict]:
    """What is in a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_functions_and_classes_with_their_licence_and_what_was_left_out(made):
    out, _ = made
    train, heldout, left = (rows(out / f"{name}.jsonl") for name in ("train", "heldout", "left_out"))
    for own in (train, heldout):
        ordered = sorted(own, key=lambda row: hashlib.sha256(row["id"].encode()).digest())
        assert own == ordered
        own.sort(key=lambda row: (row["id"].partition(":")[0], int(row["id"].partition(":")[2])))
    names = [row["text"].split("(")[0].split()[-1] for row in train]
    assert names == ["area", "diagonal", "perimeter", "wrong", "nothing"]
    assert train[1] | {"text": ""} == {
        "id": "shapes-1.0/shapes/__init__.py:20", "text": "", "context": "import math\nimport os.path\n",
        "package": "shapes==1.0", "licence": "MIT",
    }  # fmt: skip
    assert [row["id"].partition(":")[0] for row in heldout] == [f"words-1.0/words/{name}.py" for name in "abb"]
    assert heldout[2]["text"].startswith("class Box")  # held-out packages first: the same class of shapes is left out
    reasons = {(row["where"].rpartition("/")[2], row["rule"]) for row in left}
    assert ("__init__.py:60", "overlap") in reasons
    assert ("shapes-1.0/shapes/latin.py:1", "") in {(row["where"], row["rule"]) for row in left}
    assert ("__init__.py:66", "duplicate") in reasons
    assert {("a.py:9", "short or no function"), ("__init__.py:1", "short or no function")} <= reasons


def test_the_manifest_counts_what_is_there(made):
    out, _ = made
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["totals"]["train"]["documents"] == len(rows(out / "train.jsonl")) == 5
    assert manifest["totals"]["heldout"]["tokens"] == manifest["packages"][1]["tokens"] > 10
    assert manifest["files"]["train.jsonl"] == hashlib.sha256((out / "train.jsonl").read_bytes()).hexdigest()
    assert (out / "licences/words-1.0/licenses-LICENSE").read_text() == "the licence of words\n"


def test_an_archive_with_another_hash_is_refused(made, tmp_path):
    out, command = made
    pins = out.parent / "pins.toml"
    (tmp_path / "pins.toml").write_text(pins.read_text().replace('sha256 = "', 'sha256 = "0'))
    done = script("python_corpus", *[tmp_path / "pins.toml" if word == pins else word for word in command])
    assert done.returncode == 1
    assert "pinned SHA-256 of shapes-1.0, words-1.0" in done.stderr


def test_doctests_become_problems_that_their_functions_pass_and_nothing_else_does(made):
    out, _ = made
    assert (done := script("doctest_problems", out)).returncode == 0, done.stderr
    area, diagonal = sorted(
        rows(out / "doctests-train.jsonl"), key=lambda row: row["meta"]["function"]
    )  # not perimeter, wrong or nothing
    assert "2 problems; shapes==1.0 2" in done.stdout
    assert rows(out / "doctests-heldout.jsonl") == []
    assert area["prompt"].endswith('    >>> area(3, 4)\n    12\n    """\n')  # the second example is only tested
    assert area["tests"] == [{"args": [["area(3, 4)\n", "area(5)\n"]], "expected": ["12\n", "5\n"]}]
    assert diagonal["prompt"].startswith("import math\n\n\ndef diagonal(")


def test_the_pins_are_of_permissive_licences_and_the_manifest_is_theirs():
    pins = tomllib.loads((ROOT / "perf/python_corpus.toml").read_text())
    manifest = json.loads((ROOT / "perf/python_corpus.json").read_text())
    licences = {part for own in pins["packages"] for part in own["licence"].split(" OR ")}
    assert licences <= PERMISSIVE
    pairs = zip(pins["packages"], manifest["packages"], strict=True)
    assert all(told | own == told for own, told in pairs)
    assert {own["name"] for own in manifest["packages"] if own["heldout"]} == set(pins["heldout"])
    assert (manifest["tokenizer"], manifest["skipped"]) == (pins["tokenizer"], pins["skipped"])


def test_the_manifest_adds_up_and_the_page_has_its_figures():
    manifest = json.loads((ROOT / "perf/python_corpus.json").read_text())
    page = (ROOT / "docs/corpora.md").read_text()
    for split, heldout in (("train", False), ("heldout", True)):
        own = [package for package in manifest["packages"] if package["heldout"] == heldout]
        counts = {key: sum(package[key] for package in own) for key in ("documents", "tokens")}
        assert manifest["totals"][split] == counts
        assert "| {documents:,} | {tokens:,} |".format(**counts) in page
    for rule, count in manifest["totals"]["left_out"].items():
        assert count == sum(package.get(f"left out: {rule}", 0) for package in manifest["packages"])
        assert f"{count:,} {rule}" in page
