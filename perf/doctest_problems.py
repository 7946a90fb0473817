"""Makes problems of a Python corpus: functions with a docstring whose examples (doctest) say what they must give.

    python perf/doctest_problems.py CORPUS

reads train.jsonl and heldout.jsonl, which perf/python_corpus.py wrote, and writes doctests-train.jsonl and
doctests-heldout.jsonl beside them, files of problems for ``--rlvr.problems`` and ``--eval.problems``.

A problem is a function of a module, with the imports of the standard library that it uses. The prompt ends with the
docstring; the later half of its examples, where there are several, is taken out of it and only tested. The examples
run one after another as at a Python prompt, in the program's own process, and what they print is compared outside of
it. A problem is kept if the function itself passes in the sandbox, and none of the functions that return nothing, a
constant or their first argument does.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ra3.benchmarks.humaneval_mbpp import HUMANEVAL_STOP
from ra3.benchmarks.samples import standing_alone
from ra3.data.tables import Row, load_rows
from ra3.grading.grade import grade
from ra3.grading.problems import Problem, read_problem
from ra3.sandbox import Sandbox

ENTRY = "printed_by_examples"
RUNNER = f"""

def {ENTRY}(examples):
    import contextlib, io
    names, printed = {{"__name__": "__main__", **globals()}}, []
    for example in examples:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(example, "<example>", "single"), names)
        printed.append(output.getvalue())
    return printed
"""
"""Code after every answer: what each example prints, run in one session, a value by its repr."""
NULL_VALUES = ("None", "0", "True", "False", "''", "[]", "args[0]")
MOST_LINES = 60
"""Lines of a function: a longer one is no easy problem."""
UNSTABLE = ("...", " at 0x", "Traceback (most recent call last)", "<BLANKLINE>")
"""In what an example prints: what doctest compares by rules of its own, or what differs from run to run."""


def main() -> None:
    """Makes the problems of both halves of a corpus and prints how many there are, by package."""
    corpus = Path(sys.argv[1])
    for split in ("train", "heldout"):
        rows = load_rows(corpus / f"{split}.jsonl")
        problems = verified([found for row in rows if (found := problem_row(row))])
        lines = [json.dumps(problem) + "\n" for problem in problems]
        (corpus / f"doctests-{split}.jsonl").write_text("".join(lines), encoding="ascii", newline="\n")
        counts = Counter(problem["meta"]["package"] for problem in problems)
        print(f"{split}: {len(problems)} problems; {', '.join(f'{name} {n}' for name, n in counts.most_common())}")


def problem_row(row: Row) -> dict[str, Any] | None:
    """A row of the corpus as a row of a file of problems; None where it is no function with examples of its own."""
    text, context = row.text("text"), row.text("context", "")
    if ">>> " not in text or text[:1].isspace() or text.count("\n") > MOST_LINES:
        return None
    tree, above = parsed(text), parsed(context)
    function = tree.body[0] if tree and len(tree.body) == 1 else None
    if not (tree and above and isinstance(function, ast.FunctionDef) and function.body[1:]):
        return None
    own = ast.get_docstring(function, clean=False) or ""
    try:
        examples = doctest.DocTestParser().get_examples(own)
    except ValueError:
        return None
    examples = [example for example in examples if not of_its_package(example.source, function.name)]
    imports = imports_for(tree, above)
    if imports is None or not any(map(shows, examples)) or not all(map(is_plain_example, examples)):
        return None
    lines = text.splitlines(keepends=True)
    end = function.body[0].end_lineno or 0
    hidden = hidden_lines(lines, function.body[0].lineno - 1, own, examples)
    prompt = imports + "".join(line for number, line in enumerate(lines[:end]) if number not in hidden)
    printed = [example.want for example in examples]
    meta = {"band": "doctest", "package": row.text("package"), "licence": row.text("licence")}
    return {
        "id": row.text("id"), "prompt": prompt, "entry_point": ENTRY, "stop": list(HUMANEVAL_STOP), "suffix": RUNNER,
        "tests": [{"args": [[example.source for example in examples]], "expected": printed}],
        "meta": {**meta, "references": [imports + text], "function": function.name, "hidden_lines": len(hidden)},
    }  # fmt: skip


def parsed(text: str) -> ast.Module | None:
    """The syntax tree; None of what is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def imports_for(tree: ast.Module, above: ast.Module) -> str | None:
    """The imports of the standard library that a function uses, as lines; None where it uses another name that is
    neither its own nor a builtin: it cannot stand alone."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    bound |= {(own.asname or own.name).partition(".")[0] for node in ast.walk(tree) for own in names_of(node)}
    wanted, lines = used - bound - set(dir(builtins)), list[str]()
    for node in above.body:
        kept = [own for own in names_of(node) if (own.asname or own.name).partition(".")[0] in wanted]
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            lines.append(ast.unparse(node))
        elif kept and isinstance(node, ast.Import | ast.ImportFrom) and of_library(node):
            node.names = kept
            lines.append(ast.unparse(node))
            wanted -= {(own.asname or own.name).partition(".")[0] for own in kept}
    return None if wanted else "".join(f"{line}\n" for line in lines) + "\n\n" * bool(lines)


def names_of(node: ast.AST) -> list[ast.alias]:
    """The names that an import brings; none of another statement."""
    return node.names if isinstance(node, ast.Import | ast.ImportFrom) else []


def of_library(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is one of the standard library."""
    if isinstance(node, ast.ImportFrom):
        return not node.level and (node.module or "").partition(".")[0] in sys.stdlib_module_names
    return all(own.name.partition(".")[0] in sys.stdlib_module_names for own in node.names)


def of_its_package(source: str, name: str) -> bool:
    """Whether an example does nothing but import the function itself from where it is published."""
    tree = parsed(source)
    own = [node for node in tree.body if isinstance(node, ast.ImportFrom) and not of_library(node)] if tree else []
    brought = [[alias.name for alias in node.names] for node in own]
    return bool(own) and own == (tree and tree.body) and all(names in ([name], ["*"]) for names in brought)


def is_plain_example(example: doctest.Example) -> bool:
    """Whether what an example prints can be compared as it is, and whether it imports only the standard library."""
    tree = parsed(example.source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] if tree else []
    unstable = any(mark in example.want for mark in UNSTABLE)
    return tree is not None and not example.options and not unstable and all(map(of_library, imports))


def shows(example: doctest.Example) -> bool:
    """Whether an example prints anything."""
    return bool(example.want.strip())


def hidden_lines(lines: Sequence[str], first: int, own: str, examples: Sequence[doctest.Example]) -> set[int]:
    """The numbers of the lines that hold the later half of the examples that show something; none where the docstring
    is not written line by line as it reads (escapes), or has one example alone."""
    showing = [example for example in examples if shows(example)]
    written = "".join(lines[first:])
    if own not in written or len(showing) < 2:
        return set()
    first += written[: written.index(own)].count("\n")
    late = showing[(len(showing) + 1) // 2 :]
    spans = [(one.lineno, (one.source + one.want).count("\n")) for one in late]
    last = first + own.count("\n")  # the line with the closing quotes stays
    return {number for start, size in spans for number in range(first + start, first + start + size) if number < last}


def verified(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The problems that their own functions pass and functions that do nothing fail, in their order."""
    problems = [read_problem(Row(row["id"], number, row)) for number, row in enumerate(rows, 1)]
    with Sandbox() as sandbox:
        own = [(i, problem, problem.meta["references"][0]) for i, problem in enumerate(problems)]
        good = passing(sandbox, own)
        paid = passing(sandbox, [(i, problems[i], empty) for i in sorted(good) for empty in empty_programs(rows[i])])
    return [rows[i] for i in sorted(good - paid)]


def passing(sandbox: Sandbox, asked: Sequence[tuple[int, Problem, str]]) -> set[int]:
    """The numbers of the problems that one of the whole programs beside them solves."""
    verdicts = grade(sandbox, [(standing_alone(problem), source) for _, problem, source in asked])
    return {i for (i, _, _), verdict in zip(asked, verdicts, strict=True) if verdict.passed}


def empty_programs(row: dict[str, Any]) -> Iterator[str]:
    """Programs whose function gives the same for everything."""
    for value in NULL_VALUES:
        yield f"def {row['meta']['function']}(*args, **named):\n    return {value}\n"


if __name__ == "__main__":
    main()
