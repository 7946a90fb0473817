"""Every command in the documentation: it parses, its files, flags and names exist; what takes seconds is run."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import ra3

from ra3.cli import SECTIONS, app
from ra3.compare.definition import find_comparison, read_comparison
from ra3.compare.sweeps import swept
from ra3.config.load import load, parse

ROOT = Path(__file__).parent.parent
RECORD = "lab-log.md"
"""The page of what was done with the code of its day."""
PAGES = [path for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]) if path.name != RECORD]
TOOLS = "ra3", "python", "pytest", "make", "pip"
BEGIN = re.compile(rf"(?:[A-Z_0-9]+=\S+ |time )*(?:\.venv/bin/)?(?:{'|'.join(TOOLS)}) +\S")
MEANT = {"S": "1", "NAME": "ntp"}
"""Values for placeholders that stand where a number or one of a few words is asked for."""
MINE = {"my.toml": "", "recipe.toml": "", "runs/first/config.json": "{}"}
"""Files of a user that commands name."""
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "perf").glob("*.py")))
SMALLER = {
    "midtrain": "--run.threads 1 --corpus.documents 12 --midtrain.estep.updates 2 --midtrain.estep.documents 2 "
    "--midtrain.estep.group-size 2 --midtrain.mstep.tokens 2000",
    "rlvr": "--run.threads 1 --rlvr.steps 2 --rlvr.batch-problems 2 --rlvr.samples 2 --rlvr.max-new-tokens 16",
    "eval": "--run.threads 1 --eval.per-band 2 --eval.samples 2 --eval.k 1 --eval.max-new-tokens 16",
}
"""Settings with which a documented command takes seconds."""
SECONDS = re.compile(r"--help|--version|tiny-cpu|runs/first|runs list")
ELSEWHERE = re.compile(r"--ranks|sweep|track|--bench|problems\.jsonl|--profile|runs/first/config\.json")
"""What tests of ranks, comparisons, trackers, benchmarks and of costs run."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def commands(page: Path) -> list[list[str]]:
    """The command lines on a page as words, each once: in blocks and in the text, without what stands behind `#`."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    blocks = [*re.findall(r"^    .*$", text, re.MULTILINE), *re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)]
    lines = [line.strip() for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)
    return [words for line in dict.fromkeys(lines) if BEGIN.match(line) for words in _commands_in(line)]


def _commands_in(line: str) -> Iterator[list[str]]:
    """The commands that a shell would make of a line; what is optional, in brackets, is taken."""
    lexer = shlex.shlex(re.sub(r"\[(\S* ?[^\]]*)\](?=$| )", r"\1", line), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[;&|<>]+", word):
            while words and re.fullmatch(r"[A-Z_0-9]+=\S*|time", words[0]):
                del words[0]
            if words and Path(words[0]).name in TOOLS:
                yield [Path(words[0]).name, *words[1:]]
            words = []
        else:
            words.append(word)


def names(words: list[str]) -> str:
    return shlex.join(words)


def of_tool(page: Path, tool: str) -> list[list[str]]:
    return [words[1:] for words in commands(page) if words[0] == tool]


@pages
def test_a_page_says_for_whom_it_is(page):
    _, first, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert page.parent == ROOT or re.match(r"For (?!example)", first), first


@pages
def test_a_command_of_ra3_parses_with_values_that_are_allowed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in MINE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for words in of_tool(page, "ra3"):
        if len(words) == 1 and words[0].isalpha():  # the text names a command
            assert app[words[0]]
            continue
        _, bound, _ = app.parse_args([MEANT.get(w, w) for w in words], exit_on_error=False, print_error=False)
        if "--help" in words:
            continue
        if words[0] in SECTIONS:
            load(*parse(bound.args))
        elif words[0] == "compare" and words[1].islower():
            read_comparison(find_comparison(words[1]))
        elif words[0] == "sweep":
            given = {"recipe": None, "seeds": "0,1", "rlvr": False} | bound.kwargs
            swept(bound.args, given["recipe"], given["seeds"], given["rlvr"])


@pages
def test_scripts_have_the_flags_with_which_they_are_called(page):
    for words in of_tool(page, "python"):
        if words[0].endswith(".py") and "/" in words[0]:
            text = (ROOT / words[0]).read_text(encoding="utf-8") + SCRIPTS
            assert [w for w in words if w.startswith("--") and f'"{w}"' not in text] == [], names(words)


@pages
def test_tests_that_are_named_exist(page):
    called = [words[2:] for words in of_tool(page, "python") if words[:2] == ["-m", "pytest"]]
    for words in [*of_tool(page, "pytest"), *called]:
        files = [ROOT / word.partition("::")[0] for word in words if word.startswith("tests")]
        assert all(path.exists() for path in files), names(words)
        sources = [p for path in files for p in (path.rglob("test_*.py") if path.is_dir() else [path])]
        text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
        wanted = words[words.index("-k") + 1].split() if "-k" in words else []
        wanted += [word.partition("::")[2] for word in words if "::" in word]
        assert all(word in text for word in wanted), names(words)


@pages
def test_targets_and_extras_that_are_named_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in of_tool(page, "make"):
        for word in words:
            variable, equals, _ = word.partition("=")
            assert f"$({variable})" in makefile if equals else re.search(rf"^{word}:", makefile, re.M), names(words)
    for words in of_tool(page, "pip"):
        named = [name for word in words for name in re.findall(r"\[([\w,]+)\]", word)]
        assert {extra for own in named for extra in own.split(",")} <= set(extras), names(words)


def test_what_takes_seconds_runs(tmp_path):
    """In the order in which a user meets it, each run of a name once, with fewer updates and samples."""
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FOLDER" / "a.py").write_text("def double(x):\n    y = x + x\n    return y\n")
    found = {names(words): words for page in PAGES for words in of_tool(page, "ra3")}
    quick = [words for line, words in found.items() if SECONDS.search(line) and not ELSEWHERE.search(line)]
    order = ("--", "midtrain", "rlvr", "eval", "annotate", "runs", "report", "publish")
    quick.sort(key=lambda words: ([words[0].startswith(verb) for verb in order].index(True), "--fork" in words))
    begun = set()
    for words in quick:
        goes_on = any(flag in words for flag in ("--resume", "--fork", "--dry-run", "--help"))
        name = words[0], words[words.index("--name") + 1] if "--name" in words else ""
        if words[0] in SMALLER and not goes_on and name in begun:
            continue
        begun |= set() if goes_on else {name}
        more = [] if "--help" in words else SMALLER.get(words[0], "").split()
        ended = ra3(tmp_path, *words, *more)
        assert ended.returncode == 0, (names(words), ended.stderr)
    assert {("midtrain", "first"), ("rlvr", "first-rl"), ("eval", "first-eval"), ("publish", "")} <= begun
