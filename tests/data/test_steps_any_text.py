"""Steps of any text whatever: nothing is lost, meaning is kept, time is linear; and of this Python's own library."""

import os
import random
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from step_checks import check_unchanged, steps, texts

from ra3.data.corpus import read
from ra3.data.steps import KINDS

WILD = st.text(st.sampled_from("ab1 \t\f\n\r\\#\"'()[]{}:=,.@;f\0\u2028\x0b\x85é日\ufeff\ud800"), max_size=60)
LINES = ["x = 1", "if x:", "    y = 2", "\tz", "else:", "(", ")", "f'''{x}", "\\", "\\\r", "# c", "@d", "def f():"]
LINES += ["    pass", "", "\r", "match x:", "    case _:", "        pass", "class C:", "    'doc'", "x\\", "b'\\\n'"]
WORDS = [*"'\"[]{}()#\r\f :;=a1+,℘·\ufeff", "'''", '"""', 'rf"{x!r:>{3}}"', "    ", "lambda: 0", "async ", "await "]
PIECES = st.sampled_from([line + "\n" for line in LINES] + WORDS)
CODE = st.lists(PIECES, max_size=25).map("".join)


@given(WILD | CODE, st.just("") | WILD | CODE, st.sampled_from(["line", "statement"]), st.integers(0, 7))
def test_any_text_keeps_its_characters_and_its_meaning(text, context, kind, offset):
    check_unchanged(text, context, kind, offset)


@given(st.text(max_size=80))
def test_any_text_keeps_its_characters_as_sentences(text):
    assert "".join(texts(text, kind="sentence")) == text


@given(WILD | CODE, st.just("") | CODE, st.sampled_from(sorted(KINDS)))
def test_a_document_cut_at_a_step_splits_as_before(text, context, kind):
    whole = steps(text, context, kind)
    for kept in range(len(whole)):
        assert steps("".join(step.text for step in whole[:kept]), context, kind) == whole[:kept]


@given(CODE, st.data())
def test_cutting_a_program_into_context_and_text_keeps_its_meaning(program, data):
    at = data.draw(st.integers(0, len(program)))
    check_unchanged(program[at:], program[:at])


UNITS = [
    "x = f(1, 'a')  # c\n",
    "if x:\n  y\n",
    "    x\n",
    "\n",
    "\r",
    "(\n",
    "'''\n",
    "\\\n",
    "'\\\n",
    "#\n",
    '"',
    "...)) ",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["line", "statement", "sentence"])
def test_time_is_linear(unit, kind):
    """Sixteen times the text takes less than 48 times as long; quadratic code takes up to 256 times.

    The first text is long enough to be timed, and the best of some repetitions counts: a neighbour slows a process
    down, nothing speeds it up.
    """

    def seconds(copies):
        start = time.process_time()
        steps(unit * copies, context="a\nb\n", kind=kind)
        return time.process_time() - start

    copies = 1_000
    while (small := min(seconds(copies) for _ in range(3))) < 0.004:
        copies *= 2
    assert any(seconds(16 * copies) < 48 * small for _ in range(5))


def library():
    """This interpreter's own library: a fixed sample of 150 files, or all of it with RA3_FULL=1."""
    documents = read(sysconfig.get_paths()["stdlib"]).documents
    return documents if os.environ.get("RA3_FULL") == "1" else random.Random(0).sample(documents, 150)


@pytest.mark.timeout(3600)
def test_standard_library_keeps_its_meaning_under_comments():
    files = compiling = num_steps = eligible = 0
    for offset, document in enumerate(library()):
        path = Path(sysconfig.get_paths()["stdlib"], document.id)
        assert document.text.encode() == path.read_bytes()
        found, compiles = check_unchanged(document.text, offset=offset)
        files += 1
        compiling += compiles
        num_steps += len(found)
        eligible += sum(step.may_think for step in found)
    print(f"\n{files} files, {compiling} compile; {num_steps} steps, {eligible / num_steps:.1%} may think; 0 failures")
    assert compiling > 0.9 * files and eligible > 0.8 * num_steps
