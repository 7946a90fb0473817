"""A file cut at its functions: nothing is lost, and each stands under its imports and class headers."""

import ast
import sysconfig
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3.data.corpus import read
from ra3.data.documents import Document, split_heldout
from ra3.data.functions import cut_at_functions

FILE = '''#!/usr/bin/env python
"""What it is."""

import os, sys
from a import (
    b,
)

LIMIT = 3


# how a starts
@decorated
# and goes on
def f(x):
    # inside
    return x  # the end


if LIMIT:

    def g():
        import h


@final
class A(
    B,
):  # a comment

    # first
    def one(self): return 1
    def two(self):
        def inner():
            pass

        return inner
    kind = "x"

    class C:
        """Inside."""

        async def three(self):
            pass

    # four comes last

    def four(self):
        pass


class D:
    x = 1


main()
'''
IMPORTS = "import os, sys\nfrom a import (\n    b,\n)\n"
HEADER = "class A(\n    B,\n):  # a comment\n"


def test_pieces_and_what_they_stand_under():
    pieces = cut_at_functions(Document("a.py", FILE))
    assert "".join(piece.text for piece in pieces) == FILE
    assert {piece.origin for piece in pieces} == {"a.py"}
    found = [(piece.id, piece.text.splitlines()[0], piece.context) for piece in pieces]
    inner = HEADER + "    class C:\n"
    assert found == [
        ("a.py:1", "#!/usr/bin/env python", ""),
        ("a.py:12", "# how a starts", IMPORTS),
        ("a.py:20", "if LIMIT:", IMPORTS),
        ("a.py:26", "@final", IMPORTS),
        ("a.py:33", "    def two(self):", IMPORTS + HEADER),
        ("a.py:38", '    kind = "x"', IMPORTS + HEADER),
        ("a.py:40", "    class C:", IMPORTS + HEADER),
        ("a.py:43", "        async def three(self):", IMPORTS + inner),
        ("a.py:46", "    # four comes last", IMPORTS + HEADER),
        ("a.py:52", "class D:", IMPORTS),
        ("a.py:56", "main()", IMPORTS),
    ]


@pytest.mark.parametrize("text", ["print 'python 2'\n", "def f(:\n", "Prose, not code.\n", "x = '\ud800'", "(" * 5000])
def test_what_is_no_python_stays_whole(text):
    assert cut_at_functions(Document("a", text)) is None


def test_an_answer_stays_with_its_prompt():
    assert cut_at_functions(Document("a", "def f(): pass\n", context="Write f.\n")) is None


def test_each_piece_parses_below_its_headers():
    for piece in cut_at_functions(Document("a.py", FILE)):
        ast.parse(piece.context + piece.text)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_other_line_ends(end):
    text = "\ufeff" + FILE.replace("\n", end)
    pieces = cut_at_functions(Document("a.py", text))
    assert "".join(piece.text for piece in pieces) == text and len(pieces) == 11


LINES = st.sampled_from(
    [
        "import a", "def f():", "class A:", "@d", "# c", "x = '''", "'''", "(", ")", "\\", "if x:", "else:", "pass",
        "async def g(): pass", "class B(", "):", "\f", "", " ", "'''\n# s'''", "x = 1; y = 2", "from b import *",
    ]
)  # fmt: skip
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", ""])
PROGRAMS = st.lists(st.tuples(st.integers(0, 3), LINES, ENDS), max_size=25).map(
    lambda lines: "".join("    " * depth + line + end for depth, line, end in lines)
)


@settings(deadline=None, max_examples=300)
@given(PROGRAMS | st.text())
def test_pieces_cover_any_text(text):
    pieces = cut_at_functions(Document("a", text)) or [Document("a", text)]
    assert "".join(piece.text for piece in pieces) == text
    assert len({piece.id for piece in pieces}) == len(pieces)
    assert all(piece.text.strip() for piece in pieces) or not text.strip()
    assert all(not piece.context or piece.context.endswith(("\n", "\r")) for piece in pieces)


def test_pieces_cover_the_standard_library():
    root, num_pieces = Path(sysconfig.get_paths()["stdlib"]), 0
    for path in islice(sorted(root.glob("*.py")), 60):
        text = path.read_bytes().decode()
        pieces = cut_at_functions(Document(path.name, text))
        assert "".join(piece.text for piece in pieces) == text
        num_pieces += len(pieces)
    assert num_pieces > 1000


def test_a_corpus_of_functions(tmp_path):
    (tmp_path / "a.py").write_text(FILE)
    (tmp_path / "b.py").write_text("print 'python 2'\n")
    corpus = read(tmp_path, unit="function")
    assert [d.id for d in corpus.documents[-2:]] == ["a.py:56", "b.py"]
    whole = "kept whole, being no Python or with a context: 1"
    assert corpus.summary() == f"2 files -> 12 documents, 589 characters; {whole}"
    assert len(read(tmp_path, unit="function", documents=5).documents) == 5


def test_the_functions_of_a_file_are_held_out_together():
    documents = [Document(f"{i}.py:{line}", "x", origin=f"{i}.py") for i in range(100) for line in range(3)]
    held = [document.origin for document in split_heldout(documents, 0.3, seed=0)[1]]
    assert 10 < len(set(held)) < 60 and all(held.count(origin) == 3 for origin in held)
