"""The program in a reply: blocks of every kind, reasoning, text around; and what is given in front of a program."""

import time

import pytest

from ra3.errors import UserError
from ra3.grading.problems import Problem, StdioTest, program
from ra3.grading.replies import behind, fenced_program

CODE = "n = int(input())\nprint(2 * n)\n"


def fenced(mark="python", fence="```", code=CODE, end="\n"):
    return f"{fence}{mark}\n{code}{fence}{end}"


def moved(text, start):
    return "".join(f"{start}{line}\n" for line in text.splitlines())


MARKS = (
    "python", "py", "py3", "python3", "python3.11", "Python", "PYTHON 3", " python ", 'python title="a.py"',
    "python,linenos", "python:main.py", "{.python .numberLines}", "{python}", "pypy3", "",
)  # fmt: skip
OTHERS = ("text", "bash", "console", "pycon", "python-repl", "c++", "cython", "output", "json", "{.text}", "pyx")
PAID = {
    "tildes": fenced(fence="~~~"),
    "five tildes": fenced(fence="~~~~~"),
    "four backticks": fenced(fence="````"),
    "a longer end": f"```python\n{CODE}`````\n",
    "line ends of Windows": fenced().replace("\n", "\r\n"),
    "in a list": "1. So:\n\n" + moved(fenced(), "   ") + "\n2. It doubles.\n",
    "on a bullet": "- ```python\n  n = int(input())\n  print(2 * n)\n  ```\n",
    "on a number": f"12. ```python\n{CODE}    ```\n",
    "in a list, indented by tabs": moved(fenced(), "\t"),
    "the fence alone indented": f"   ```python\n{CODE}   ```\n",
    "quoted": moved(fenced(), "> "),
    "quoted without a space": moved(fenced(), ">"),
    "quoted twice, in a list": moved(moved(fenced(), "  "), "> > "),
    "quoted in part": f"> ```python\n{CODE}> ```\n",
    "never closed": f"Here:\n\n```python\n{CODE}",
    "never closed, no line end": f"```python\n{CODE}".rstrip("\n"),
    "tildes never closed": f"~~~py\n{CODE}",
    "text after the end": fenced(end=" This works.\n"),
    "a tag after the end": f"<answer>{fenced(end='</answer>')}",
    "ended on the last line": f"```python\n{CODE}".rstrip("\n") + "```\n",
    "ended on the last line, and more": f"```python\n{CODE}".rstrip("\n") + f"```\nIt prints:\n{fenced('text')}",
    "text before": f"Here it is: {fenced()}",
    "an unseen character before": f"\u200b{fenced()}",
    "output behind": f"{fenced()}\nIt prints:\n\n{fenced('', code='8' + chr(10))}",
    "its cost behind": f"{fenced()}\n{fenced('', code='O(1)' + chr(10))}",
    "output before": f"For 4:\n{fenced('', code='8' + chr(10))}{fenced()}",
    "a command behind": f"{fenced('')}\n{fenced('bash', code='python a.py' + chr(10))}",
    "the block named afterwards": f"{fenced()}\nThe ```python block reads `n`.\n",
    "a draft first": f"{fenced(code='print(0)' + chr(10))}No:\n{fenced()}",
    "a draft never closed": f"```python\nprint(0)\n{fenced()}",
    "two fences": f"```\n{fenced()}```\n",
    "Markdown around": f"````markdown\n# Answer\n````\n{fenced()}",
    "after reasoning": f"<think>\n{fenced(code='print(0)' + chr(10))}</think>\n{fenced()}",
    "after reasoning that began in the prompt": f"I print.\n```\nprint(0)\n</think>{fenced()}",
    "after reasoning in other tags": f"[THINK]```python\nprint(0)\n```[/THINK]\n{fenced()}",
    "after reasoning that named its tag": f"<thinking>I close </think> when done.\n</thinking>\n{fenced()}",
    "no block": CODE,
    "no block after reasoning": f"<think>Twice.</think>{CODE}",
}
UNPAID = {
    "nothing": "", "another language": fenced("bash"), "two others": fenced("json") + fenced("text"),
    "reasoning alone": f"{fenced()}</think>",
}  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_block_of_python_or_without_a_mark_is_the_program(mark):
    assert fenced_program(f"So:\n{fenced(mark)}") == CODE


@pytest.mark.parametrize("mark", OTHERS)
def test_a_block_of_another_language_never_is(mark):
    assert fenced_program(fenced(mark)) == ""
    assert fenced_program(fenced("") + fenced(mark, code="8\n")) == CODE


@pytest.mark.parametrize("name", PAID)
def test_a_program_in_a_reply_is_found(name):
    assert fenced_program(PAID[name]) == CODE


@pytest.mark.parametrize("name", UNPAID)
def test_no_program_is_made_up(name):
    assert fenced_program(UNPAID[name]) == ""


def test_lines_inside_of_a_block_stay_as_they_are():
    code = 'x = """\n> quoted\n  - a\f\u2028``\n````\n"""\n'
    assert fenced_program(fenced(fence="`````", code=code)) == code
    assert fenced_program(moved(fenced(code="if x:\n    y = 1\n\n\ty\n"), "  ")) == "if x:\n    y = 1\n\n\ty\n"
    assert fenced_program("I do not know.") == "I do not know."  # fails when it is run


def test_a_hostile_reply_takes_no_time():
    start = time.process_time()
    for text in ("`" * 200_000 + "x`", "``` `" * 40_000, "> " * 100_000, "```py\n" * 30_000, "</think>" * 30_000):
        fenced_program(text)
        behind("", text)
    assert time.process_time() - start < 5


FUTURE = "from __future__ import annotations\n"
GIVEN = 'from typing import List\n\n\ndef f(x):\n    """Twice."""\n'
BODY = "def f(x: List[Unknown]) -> None:\n    return 2 * x\n\n\nprint(f(int(input())))\n"


@pytest.mark.parametrize(
    "head",
    [
        "", FUTURE, f"# A comment.\n\n{FUTURE}", f'"""What it\ndoes."""\n\n{FUTURE}',
        f"{FUTURE}from __future__ import division\n", "from __future__ import (\n    annotations,\n    division,\n)\n",
        "from __future__ import annotations; import re\n", f"#!/usr/bin/env python3\n{FUTURE}# more\n",
        f"'one' 'two'\n{FUTURE}", "from __future__ \\\n    import annotations\n", f'r"""\\d"""  # raw\n\n\n{FUTURE}',
        f'("""One\n"""\n"two")\n{FUTURE}', f'"""What it does."""; {FUTURE}',
    ],
)  # fmt: skip
def test_imports_from_the_future_stay_in_front(head, one_server):
    from ra3.grading.grade import grade

    body = BODY if head else BODY.replace("List[Unknown]", "List")
    problem = Problem("a", "", None, (StdioTest("4\n", "8\n"),), prefix=GIVEN, answer="fenced")
    (verdict,) = grade(one_server, [(problem, fenced(code=head + body))])
    assert verdict.passed, verdict
    assert behind("", head + body) == head + body


def test_what_only_looks_like_an_import_from_the_future_stays_where_it_is():
    quoted = (f'x = 1\ny = """\n{FUTURE}"""\n', f'"""\n{FUTURE}"""\nx = 1\n')
    for text in (*quoted, f"    return x\n{FUTURE}", "x = (\n", "'''"):
        assert behind(GIVEN, text) == GIVEN + text
    asked = Problem("a", "Say.", None, (StdioTest("", ""),), prefix=GIVEN, suffix="f(1)", answer="fenced")
    assert program(asked, fenced(code=f"{FUTURE}x = 1\n")) == f"{FUTURE}{GIVEN}x = 1\n\nf(1)"
    with pytest.raises(UserError, match="answer = 'block'"):
        Problem("a", "Say.", None, (StdioTest("", ""),), answer="block")
