"""Builds a corpus of permissively licensed Python, functions and classes, from pinned packages of PyPI.

    python perf/python_corpus.py OUT [--benchmarks humaneval,mbpp-all] [--packages NAME,NAME] [--wheels FOLDER]

writes, the same bytes each time for the same packages and benchmarks,

    OUT/train.jsonl, OUT/heldout.jsonl   a row for each: id, text, context (imports, class headers), package, licence
    OUT/left_out.jsonl                   files and functions that were left out, where they stood and why
    OUT/manifest.json                    packages with versions, licences, SHA-256 of their archives, and counts
    OUT/licences/PACKAGE-VERSION/        the licence files of each package, which go with its text

Packages, their hashes and which of them are held out stand in perf/python_corpus.toml. An archive with another hash is
refused. Files go through the filter of ra3 (docs/corpora.md) and are cut at functions; a function that is nearly the
same as one before, or that shares something with a problem of the benchmarks, is left out (HumanEval+ and MBPP+ have
the statements and the solutions of HumanEval and MBPP). Held-out packages come first, so nothing that is trained on is
nearly the same as what is measured on. Rows stand in the order of a hash of their ids: the first N of them are a sample
of all packages.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from textwrap import dedent
from typing import Any
from zipfile import ZipFile

from ra3.benchmarks import load_benchmark
from ra3.benchmarks.contamination import Index, text_marks
from ra3.data.corpus import read
from ra3.data.documents import BadRow, Corpus, Document
from ra3.data.filters import NearDuplicates
from ra3.data.tokens import token_ids
from ra3.errors import UserError
from ra3.model.hub import find_model
from ra3.model.load import ModelFolder

PINS = Path(__file__).with_suffix(".toml")
LEAST_LINES = 4
"""Lines with something on them: what is shorter is a getter or a stub."""
LICENCE_FILE = re.compile(r"\.dist-info/.*(licen[sc]e|copying|notice)", re.IGNORECASE)
TOKENIZED_AT_ONCE = 1000
WHEEL_ONLY = [
    *("--no-deps", "--only-binary=:all:", "--platform", "any", "--implementation", "py", "--abi", "none"),
    *("--python-version", "3.11"),
]
"""What makes pip choose the one wheel that every machine can use."""


@dataclass(frozen=True)
class Package:
    """A wheel of PyPI: ``Package("toolz", "1.2.0", "BSD-3-Clause", "2ab1...")``."""

    name: str
    version: str
    licence: str
    """Its SPDX expression."""
    sha256: str
    """Of its archive."""

    @property
    def folder(self) -> str:
        """Where its files lie, and how the ids of its functions begin."""
        return f"{self.name}-{self.version}"


def main() -> None:
    """Builds the corpus and prints what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--benchmarks", default="humaneval,mbpp-all", help="NAME or NAME:FILE")
    parser.add_argument("--wheels", type=Path, help="folder with the archives; default: pip downloads them")
    parser.add_argument("--pins", type=Path, default=PINS, help="the packages")
    parser.add_argument("--packages", help="only these, with commas between")
    given = parser.parse_args()
    pins = tomllib.loads(given.pins.read_text(encoding="utf-8"))
    wanted = given.packages.split(",") if given.packages else [own["name"] for own in pins["packages"]]
    packages = [Package(**own) for own in pins["packages"] if own["name"] in wanted]
    gc.disable()  # what is made here has no cycles; the search for them among so many objects takes a third of the time
    try:
        index = Index([load_benchmark(name) for name in given.benchmarks.split(",") if name])
        with tempfile.TemporaryDirectory() as place:
            wheels = given.wheels or download(packages, Path(place) / "wheels")
            archives = pinned_archives(packages, wheels)
            for package in packages:
                unpack(archives[package.name], Path(place) / "text" / package.folder, pins["skipped"])
                copy_licences(archives[package.name], given.out / "licences" / package.folder)
            corpus = read(Path(place) / "text", unit="function", filtered=True, max_bad=1)
            faulty = [replace(bad, where=bad.where.removeprefix(f"{place}/text/")) for bad in corpus.quarantine]
        kept, left = sift(corpus, set(pins["heldout"]), packages, index)
        manifest = write(given.out, kept, [*faulty, *left], pins, packages, given.benchmarks)
    except UserError as error:
        sys.exit(str(error))
    print(json.dumps(manifest["totals"], indent=2))


def download(packages: Sequence[Package], folder: Path) -> Path:
    """Let pip fetch the archives, which checks their hashes. UserError where it cannot."""
    folder.mkdir(parents=True)
    lines = [f"{own.name}=={own.version} --hash=sha256:{own.sha256}\n" for own in packages]
    (folder / "pins.txt").write_text("".join(lines))
    command = [sys.executable, "-m", "pip", "download", "-q", *WHEEL_ONLY, "-d", folder, "-r", folder / "pins.txt"]
    if (done := subprocess.run(command, capture_output=True, text=True)).returncode:
        said = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise UserError(f"pip cannot download the packages: {said}", fix="name a folder that has them: --wheels")
    return folder


def pinned_archives(packages: Sequence[Package], folder: Path) -> dict[str, Path]:
    """The archive of each package, by its hash. UserError where one is missing or another."""
    found = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in sorted(folder.glob("*.whl"))}
    if missing := [own.folder for own in packages if own.sha256 not in found]:
        what = f"no archive here has the pinned SHA-256 of {', '.join(missing)}"
        raise UserError(what, where=str(folder), fix="fetch these very versions as pure Python wheels")
    return {own.name: found[own.sha256] for own in packages}


def unpack(archive: Path, folder: Path, skipped: Sequence[str]) -> None:
    """Write the Python files of a wheel that are no tests, but for folders and files to be skipped."""
    with ZipFile(archive) as wheel:
        for name in wheel.namelist():
            path = PurePosixPath(name)
            is_test = path.name.startswith("test_") or path.name.endswith("_test.py") or path.name == "conftest.py"
            if path.suffix != ".py" or is_test or {*skipped, ".."} & {name, *path.parts} or path.is_absolute():
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(wheel.read(name))


def copy_licences(archive: Path, folder: Path) -> None:
    """Write the licence files of a wheel, or its metadata where it has none."""
    with ZipFile(archive) as wheel:
        names = [name for name in wheel.namelist() if LICENCE_FILE.search(name) and not name.endswith("/")]
        names = names or [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name.partition(".dist-info/")[2].replace("/", "-")).write_bytes(wheel.read(name))


def sift(
    corpus: Corpus, heldout: set[str], packages: Sequence[Package], index: Index
) -> tuple[dict[str, list[Document]], list[BadRow]]:
    """The functions and classes to train on and to hold out, and what was left out of them; held-out packages first."""
    seen, exact = NearDuplicates(), dict[str, str]()
    held = {package.folder for package in packages if package.name in heldout}
    kept: dict[str, list[Document]] = {"train": [], "heldout": []}
    left = []
    for document in sorted(corpus.documents, key=lambda own: own.id.partition("/")[0] not in held):
        if reason := unsuited(document.text):
            left.append(BadRow(document.id, reason, "short or no function"))
        elif (same := exact.setdefault(document.text.strip(), document.id)) != document.id:
            left.append(BadRow(document.id, f"is the same as {same}", "duplicate"))
        elif like := seen.add(document.id, document.text):
            left.append(BadRow(document.id, f"is nearly the same as {like}", "near duplicate"))
        elif overlap := index.overlap(document.id, text_marks(dedent(document.text))):
            left.append(BadRow(document.id, str(overlap), "overlap"))
        else:
            kept["heldout" if document.id.partition("/")[0] in held else "train"].append(document)
    return kept, left


def unsuited(text: str) -> str | None:
    """Why a piece of a file is nothing to train on: it is neither a function nor a class, or very short."""
    try:
        with warnings.catch_warnings(action="ignore"):
            body = ast.parse(dedent(text)).body
    except (SyntaxError, ValueError, RecursionError):
        body = []
    if not body or not all(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in body):
        return "is neither a function nor a class"
    lines = sum(bool(line.strip()) for line in text.splitlines())
    return f"has {lines} lines" if lines < LEAST_LINES else None


def write(
    out: Path, kept: dict[str, list[Document]], left: Sequence[BadRow], pins: dict[str, Any],
    packages: Sequence[Package], benchmarks: str,
) -> dict[str, Any]:  # fmt: skip
    """Write the rows, what was left out, and the manifest, which is returned."""
    tokenizer = ModelFolder(find_model(pins["tokenizer"])[0]).tokenizer()
    of_folder = {package.folder: package for package in packages}
    counts: dict[str, Counter[str]] = {package.folder: Counter() for package in packages}
    totals: dict[str, Any] = {}
    for split, found in kept.items():
        documents = sorted(found, key=lambda own: hashlib.sha256(own.id.encode()).digest())
        sizes = token_counts(tokenizer, (document.text for document in documents))
        rows = []
        for document, size in zip(documents, sizes, strict=True):
            folder = document.id.partition("/")[0]
            rows.append(row(document, of_folder[folder]))
            counts[folder].update(documents=1, tokens=size)
        (out / f"{split}.jsonl").write_text("".join(rows), encoding="ascii", newline="\n")
        totals[split] = {"documents": len(documents), "tokens": sum(sizes)}
    for bad in left:
        counts[bad.where.partition("/")[0]][f"left out: {bad.rule or 'faulty'}"] += 1
    lines = [json.dumps(asdict(bad)) + "\n" for bad in left]
    (out / "left_out.jsonl").write_text("".join(lines), encoding="ascii", newline="\n")
    totals["left_out"] = dict(sorted(Counter(bad.rule or "faulty" for bad in left).items()))
    told = [asdict(own) | {"heldout": own.name in pins["heldout"]} | dict(counts[own.folder]) for own in packages]
    names = [name.partition(":")[0] for name in benchmarks.split(",") if name]
    files = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("train.jsonl", "heldout.jsonl")}
    asked = {"tokenizer": pins["tokenizer"], "benchmarks": names, "skipped": pins["skipped"]}
    manifest = {**asked, "totals": totals, "files": files, "packages": told}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii", newline="\n")
    return manifest


def row(document: Document, package: Package) -> str:
    """A function as a line of JSON."""
    about = {"package": f"{package.name}=={package.version}", "licence": package.licence}
    return json.dumps({"id": document.id, "text": document.text, "context": document.context, **about}) + "\n"


def token_counts(tokenizer: Any, texts: Iterable[str]) -> list[int]:
    """How many tokens each text has."""
    return [size for part in parts(texts, TOKENIZED_AT_ONCE) for size in map(len, token_ids(tokenizer, part))]


def parts(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """The items, so many at once."""
    part: list[str] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    yield part


if __name__ == "__main__":
    main()
