"""Steps: joined they are the text, and a comment before a step that may think changes nothing but the text."""

import ast
import itertools
import os
import random
import sys
import sysconfig
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ra3.corpus import Document, read
from ra3.errors import UserError
from ra3.latents import annotate_text, remove
from ra3.steps import KINDS, Step, register, split

COMMENTS = (
    "# sort the list\n",
    "#\n",
    "#!/usr/bin/env sh\n",
    "# -*- coding: no-such-encoding -*-\n",
    '# """ open """" and \'\'\' and ( [ {\n',
    "# ends in a backslash \\\n",
    "# naïve ∀x ≥ 0 – 日本\n",
    "# type: ignore\n",
)
"""Comments that would do harm if they stood where they must not."""


def steps(text, context="", kind="line"):
    return split(Document("d", text, context), kind)


def texts(text, context="", kind="line"):
    return [step.text for step in steps(text, context, kind)]


def thinkers(text, context="", kind="line"):
    """The steps that may think, without their line ends."""
    return [step.text.rstrip("\r\n") for step in steps(text, context, kind) if step.may_think]


def meaning(source):
    """The program as a tree without positions, or None if it does not compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "source", "exec", dont_inherit=True)
            return ast.dump(ast.parse(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def annotate_everywhere(found, offset=0):
    comments = itertools.cycle(COMMENTS[offset % len(COMMENTS) :] + COMMENTS[: offset % len(COMMENTS)])
    return annotate_text(found, [next(comments) if step.may_think else None for step in found])


def check_unchanged(text, context="", kind="line", offset=0):
    """Splits exactly, comments every step that may think, and compares both texts and meanings.

    Returns the steps, and whether the program compiles.
    """
    found = steps(text, context, kind)
    assert "".join(step.text for step in found) == text
    annotated, spans = annotate_everywhere(found, offset)
    assert remove(annotated, spans) == text
    assert len(spans) == sum(step.may_think for step in found)
    before = meaning((context + text).removeprefix("\ufeff"))
    if before is not None:
        assert meaning((context + annotated).removeprefix("\ufeff")) == before
    return found, before is not None


def test_blank_lines_join_the_step_before():
    assert texts("a\n\n  \n\tb\n\f\nc") == ["a\n\n  \n", "\tb\n\f\n", "c"]


def test_leading_blank_lines_join_the_first_step():
    assert texts("\n \n\nx = 1\ny\n") == ["\n \n\nx = 1\n", "y\n"]


@pytest.mark.parametrize("kind", ["line", "statement", "sentence"])
def test_empty_and_blank_documents(kind):
    assert steps("", kind=kind) == []
    assert texts("\n\n ", kind=kind) == ["\n\n "]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end):
    text = end.join(["a = 1", "b = 2", "", "if a:", "\tc = (", "3)", "d = '''", "e'''", "f"])
    after = ["if a:", "\tc = (", "3)", "d = '''", "e'''", "f"]
    assert [t.rstrip("\r\n") for t in texts(text)] == ["a = 1", "b = 2", *after]
    assert thinkers(text) == [line for line in after if line != "e'''"]


def test_other_line_separators_are_text():
    text = "s = 'a\x0bb\x1cc\x85d\u2028e'\n"
    assert texts(text) == [text]


def test_the_first_two_lines_may_not_think():
    assert thinkers("#!/bin/sh\n# coding: utf-8\na\nb\n") == ["a", "b"]
    assert thinkers("a\nb\nc\nd\n") == ["c", "d"]


def test_lines_after_a_context_may_think_at_once():
    assert thinkers("a\nb\n", context="x = 1\ny = 2\n") == ["a", "b"]
    assert thinkers("a\nb\n", context="x = 1\n") == ["a", "b"]


def test_a_comment_never_becomes_a_coding_cookie():
    assert thinkers("a\nb\n", context="# one comment line\n") == ["b"]
    assert thinkers("a\nb\n", context="\n") == ["b"]


def test_a_line_begun_in_the_context_may_not_think():
    assert thinkers("1\ny = 2\n", context="a\nb\nx = ") == ["y = 2"]
    assert thinkers("\ny = 2\nz\n", context="a\nb\nx = 1\r") == ["z"]
    assert texts("\ny = 2\nz\n", context="a\nb\nx = 1\r") == ["\ny = 2\n", "z\n"]


def test_a_string_open_in_the_context_counts():
    assert thinkers("inside\n'''\nx\n", context="a\nb\ns = '''\n") == ["x"]
    assert thinkers("1,\n2)\nx\n", context="a\nb\ns = (\n") == ["1,", "2)", "x"]
    assert thinkers("+ 2\nx\n", context="a\nb\ns = 1 \\\n") == ["x"]


def test_a_context_in_words_does_not_count():
    assert thinkers("a\nb\nc\n", context="Write a function that doesn't fail:\n") == ["c"]
    assert thinkers("1\nb\nc\n", context="Don't you see:\nx = ") == ["c"]
    assert thinkers("a\nb\nc\n", context="Why? '''\n") == []
    assert thinkers("a\nb\nc\n", context="Why? \\\n") == []
    assert thinkers("a'\nb\nc\n", context="Why? '") == []


def test_existing_comments_and_hashes_in_strings():
    after = ["x = '# no'", "    # indented", "y = 1  # end"]
    assert thinkers("\n".join(["a", "b", "# note", *after])) == after


def test_multi_line_strings_and_continuations():
    text = 'a\nb\nx = """one\ntwo\n"""\ny = 1 + \\\n  2\nz = f"""{a}\n{b}\n"""\nw = \'p\\\nq\'\nv\n'
    assert thinkers(text) == ['x = """one', "y = 1 + \\", 'z = f"""{a}', "w = 'p\\", "v"]


def test_headers_decorators_match_and_async():
    text = (
        "import a\n\n@a.b\n@c(\n    1,\n)\nasync def f(x):\n    '''Doc.'''\n    match x:\n        case [1, *_]:\n"
        "            async with x as y: pass\n        case _:\n            return\n    else_ = 1\n"
    )
    found, compiles = check_unchanged(text)
    assert compiles
    assert sum(step.may_think for step in found) == len(found) - 1


def test_nothing_may_think_after_a_syntax_error():
    assert thinkers("a\nb\nc\nx = 'open\nd\ne\n") == ["c", "x = 'open"]
    assert thinkers("a\nb\nif x:\n        c\n    d\ne\n")[-1] != "e"


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
def test_a_character_that_no_program_may_hold(bad):
    text = f"a\nb\nif c:\n    d\n      {bad}e\nf\n"
    assert "".join(texts(text)) == text
    assert thinkers(text) == ["if c:", "    d", f"      {bad}e"]


def test_a_byte_order_mark_is_kept_and_does_no_harm():
    assert thinkers("\ufeffa\nb\nc\n") == ["c"]
    assert texts("\ufeffa\nb\n") == ["\ufeffa\n", "b\n"]


def test_statements():
    text = (
        "x = [\n  1,\n\n  2,\n]\n\n# note\ns = '''\nq\n'''; t = 2\nif x: y\n"
        "@d\ndef f(a,\n      b):\n    return 1 + \\\n        2\n"
    )
    assert texts(text, kind="statement") == [
        "x = [\n  1,\n\n  2,\n]\n\n",
        "# note\n",
        "s = '''\nq\n'''; t = 2\n",
        "if x: y\n",
        "@d\n",
        "def f(a,\n      b):\n",
        "    return 1 + \\\n        2\n",
    ]
    assert thinkers(text, kind="statement")[0].startswith("s = ")


def test_statements_begun_in_the_context_or_broken():
    assert texts("1,\n2)\nx\n", context="s = (\n", kind="statement") == ["1,\n2)\n", "x\n"]
    assert texts("a\nx = '\nb\nc\n", kind="statement") == ["a\n", "x = '\n", "b\n", "c\n"]
    assert texts("a\nx = (\nb\nc\n", kind="statement") == ["a\n", "x = (\nb\nc\n"]


def test_sentences():
    text = 'He said "go." Then 3.14 of it, e.g. pi. 1. One?! Yes…\n\nA title\n\nlast line'
    assert texts(text, kind="sentence") == [
        'He said "go." ', "Then 3.14 of it, e.g. pi. ", "1. One?! ", "Yes…\n\n", "A title\n\n", "last line",
    ]  # fmt: skip
    assert texts("今日は。明日は！", kind="sentence") == ["今日は。", "明日は！"]
    assert all(step.may_think for step in steps(text, kind="sentence"))


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(UserError, match="line, sentence, statement"):
        steps("a", kind="word")


def test_a_registered_kind_is_used_and_held_to_its_promise():
    try:
        register("half")(lambda context, text: [Step(text[:1], True), Step(text[1:], False)])
        assert texts("abc", kind="half") == ["a", "bc"]
        register("lossy")(lambda context, text: [Step(text.strip(), True)])
        with pytest.raises(ValueError, match="lossy"):
            steps(" abc ", kind="lossy")
    finally:
        KINDS.pop("half", None), KINDS.pop("lossy", None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="f-strings nest from Python 3.12 on")
def test_nested_f_strings():
    text = "a\nb\nx = f'''{\n  1\n} {f\"{\n2}\"}\n'''\ny\n"
    assert thinkers(text) == ["x = f'''{", "y"]
    check_unchanged(text)


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
    def seconds(copies):
        start = time.process_time()
        steps(unit * copies, context="a\nb\n", kind=kind)
        return time.process_time() - start

    assert seconds(16_000) < 4 * 16 * max(seconds(1_000), 0.01)


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
