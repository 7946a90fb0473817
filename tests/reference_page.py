"""The page docs/reference.md, made of the signatures and docstrings of what other programs import:

.venv/bin/python tests/reference_page.py > docs/reference.md
"""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType

import ra3.api
import ra3.grading.grade
import ra3.sandbox

HEAD = """\
# Reference

For programs that import `ra3`: every name that they can count on, as its docstring has it. How to use
them: [Python](python.md), the sandbox and its verdicts [alone](grading.md). This page is made from the code,
`tests/test_docs.py` compares the two:

    .venv/bin/python tests/reference_page.py > docs/reference.md
"""
ROOMS: dict[ModuleType, tuple[str, ...]] = {
    ra3.api: ("load", "midtrain", "rlvr", "evaluate", "annotate", "ShortForms"),
    ra3.sandbox: tuple(name for name in ra3.sandbox.__all__ if inspect.isclass(getattr(ra3.sandbox, name))),
    ra3.grading.grade: ("grade", "Grader", "Verdict"),
}
INTERNAL = {"payload", "judge_payload"}
"""Public methods that are for the sandbox's own parts."""


def reference_page() -> str:
    """The page as text."""
    parts = [HEAD]
    for room, names in ROOMS.items():
        parts += [f"## {room.__name__}\n", f"{inspect.getdoc(room)}\n"]
        for name in names:
            (node,) = ast.parse(inspect.getsource(getattr(room, name))).body
            parts += [f"### {name}\n", *_described(node)]
    return re.sub(r"::\n", ":\n", "\n".join(parts))


def _described(node: ast.AST) -> Iterator[str]:
    """Signature and docstring of a function; of a class also its fields and public methods."""
    if isinstance(node, ast.FunctionDef):
        yield _signature(node)
    if not isinstance(node, ast.ClassDef):
        yield f"{ast.get_docstring(node)}\n"
        return
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef) and ast.get_docstring(one)]
    start = [one for one in methods if one.name == "__init__"]
    yield from (_signature(one, node.name) for one in start)
    yield from (f"{ast.get_docstring(one)}\n" for one in (node, *start))
    if fields := [[cell.replace("|", "\\|") for cell in cells] for cells in _fields(node)]:
        yield (
            "\n".join(["| Field | Meaning |", "|---|---|", *(f"| `{field}` | {text} |" for field, text in fields)])
            + "\n"
        )
    for one in methods:
        if not one.name.startswith("_") and one.name not in INTERNAL:
            yield from (_signature(one), f"{ast.get_docstring(one)}\n")


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The fields of a record, each with the string that stands under it."""
    for one, below in pairwise(node.body):
        if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield ast.unparse(one), inspect.cleandoc(str(below.value.value)).replace("\n", " ")


def _signature(node: ast.FunctionDef, name: str = "") -> str:
    decorators = [ast.unparse(one) for one in node.decorator_list]
    words = [argument for argument in ast.unparse(node.args).split(", ") if argument != "self"]
    gives = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    call = "" if "property" in decorators else f"({', '.join(words)})"
    return f"```python\n{name or node.name}{call}{gives}\n```\n"


if __name__ == "__main__":
    print(reference_page(), end="")
