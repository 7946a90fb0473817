"""Steps: joined they are the text, each from its first visible character on, and a comment before a step that may think
changes nothing but the text."""

import sys

import pytest
from step_checks import check_unchanged, steps, texts, thinkers

from ra3.errors import UserError


def test_blank_lines_join_the_step_before():
    assert texts("a\n\n  \n\tb\n\f\nc") == ["a\n\n  \n\t", "b\n\f\n", "c"]


def test_white_space_at_the_start_is_a_step_of_its_own():
    assert texts("\n \n\nx = 1\ny\n") == ["\n \n\n", "x = 1\n", "y\n"]
    assert texts("  x = 1\n  y\n") == ["  ", "x = 1\n  ", "y\n"]
    assert thinkers("  x = 1\n  y\n", context="def f():\n  0\n") == ["x = 1", "y"]


@pytest.mark.parametrize("kind", ["line", "statement", "sentence"])
def test_empty_and_blank_documents(kind):
    assert steps("", kind=kind) == []
    assert texts("\n\n ", kind=kind) == ["\n\n "]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end):
    text = end.join(["a = 1", "b = 2", "", "if a:", "\tc = (", "3)", "d = '''", "e'''", "f"])
    after = ["if a:", "c = (", "3)", "d = '''", "e'''", "f"]
    assert [t.rstrip() for t in texts(text)] == ["a = 1", "b = 2", *after]
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
    assert thinkers("\ny = 2\nz\n", context="a\nb\nx = 1\r") == ["y = 2", "z"]
    assert texts("\ny = 2\nz\n", context="a\nb\nx = 1\r") == ["\n", "y = 2\n", "z\n"]


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


@pytest.mark.parametrize("sign", ["$", "?", "!", "`", "\N{EURO SIGN}", "\xb7"])
def test_a_sign_that_python_does_not_know_is_no_python_whatever_the_version(sign):
    assert thinkers("a\nb\nc\n", context=f"Costs {sign}5:\nx = (\n") == ["c"]
    assert thinkers(f"a\nb\nc {sign} d\ne\nf\n") == [f"c {sign} d"]
    quoted = f"y = f'{{a!r}}{sign}'"
    assert thinkers(f"a\nb\n{quoted}\ne\n") == [quoted, "e"]


def test_existing_comments_and_hashes_in_strings():
    after = ["x = '# no'", "    # indented", "y = 1  # end"]
    assert thinkers("\n".join(["a", "b", "# note", *after])) == [after[0], after[2]]


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
    assert thinkers(text) == ["if c:", "d", f"{bad}e"]


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
        "def f(a,\n      b):\n    ",
        "return 1 + \\\n        2\n",
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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="f-strings nest from Python 3.12 on")
def test_nested_f_strings():
    text = "a\nb\nx = f'''{\n  1\n} {f\"{\n2}\"}\n'''\ny\n"
    assert thinkers(text) == ["x = f'''{", "y"]
    check_unchanged(text)
