"""The shape of the code: small files, short functions, modules in one order, nothing heavy at start-up."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ra3"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

ORDER = (
    # ground: errors, settings, the run folder and what is written there
    *("errors", "seeds", "disk", "settings", "conflicts", "config", "describe", "recipes", "flags"),
    *("environment", "folder_lock", "forks", "manifest", "interrupts", "runs", "glossary", "metrics", "ledger"),
    *("checkpoint",),
    *("alarms", "display", "watchdog", "recorder", "profile", "run_folders", "report"),
    # text: documents, steps, latents; problems and their verdicts; the embedded worlds
    *("readers", "corpus", "steps", "latents", "annotated_folder", "sandbox", "faults"),
    *("derivation", "problem_tests", "extraction", "problems", "sandbox.exams", "sandbox.grade", "bench"),
    *("word_tokenizer", "pretraining", "world_pages", "testbed", "chains", "worlds"),
    # the model: rows of tokens, the one forward pass, sampling
    *("rows", "actions", "chunks", "kv_cache", "attention", "projections", "decoder", "row_attention", "output_head"),
    *("recomputation", "heap", "model_folder", "opener"),
    *("policy", "flops", "walk", "reading", "interleave", "sampler", "completions", "attempts"),
    *("fingerprints", "materials", "sources"),
    # one step of learning
    *(
        "rewards",
        "advantages",
        "losses",
        "batches",
        "optimizers",
        "order",
        "not_finite",
        "ranks",
        "update",
        "rollouts",
        "credit_view",
        "rl_step",
    ),
    # the acts
    *("estep", "annotate", "mstep", "em_round", "methods", "midtrain", "program_groups", "rlvr"),
    *(
        "statistics",
        "learning_curve",
        "sequential_test",
        "evaluate",
        "probes",
        "information",
        "abstractions",
        "heldout",
    ),
    # the commands
    *(
        "memory_plan",
        "pipeline",
        "grading",
        "demo",
        "plan",
        "theory",
        "arguments",
        "comparison",
        "runs_commands",
        "exit_codes",
        "cli",
        "__main__",
    ),
)
"""Modules and packages of ra3, in reading order: each imports only those before it."""

EMPTY_NAMES = {"utils", "util", "common", "base", "helpers", "misc"}

LIGHT = ("cli", "config", "recipes", "errors", "corpus", "steps", "latents", "statistics", "problems", "sandbox")
HEAVY = ("torch", "transformers", "tokenizers", "datasets", "matplotlib")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(place, lines) of every function in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


def unit(dotted: str) -> str:
    """The longest entry of ORDER that a name belongs to: "config.Config" -> "config"; "" for ra3/__init__.py."""
    parts = dotted.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in ORDER), "")


def unit_of_file(path: Path) -> str:
    name = unit(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    assert name or path == PACKAGE / "__init__.py", f"{path} has no place in ORDER"
    return name


def imported(tree: ast.AST) -> Iterator[str]:
    """The entries of ORDER that a file imports when it runs, wherever the import stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (unit(name.removeprefix("ra3.")) for name in names if name.startswith("ra3."))
        yield from imported(node)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_250_lines(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 250


def test_functions_are_short():
    lengths = dict(item for path in SOURCES for item in functions(path))
    assert {place: lines for place, lines in lengths.items() if lines > 80} == {}
    assert median(lengths.values()) <= 12


def test_names_say_something():
    assert [str(path) for path in SOURCES if path.stem in EMPTY_NAMES] == []


def test_the_order_names_every_module_once():
    assert len(set(ORDER)) == len(ORDER)
    assert {unit_of_file(path) for path in SOURCES} - {""} == set(ORDER)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_modules_before_it(path):
    own = unit_of_file(path)
    before = {"", own, *ORDER[: ORDER.index(own)]} if own else {""}
    assert set(imported(ast.parse(path.read_text(encoding="utf-8")))) <= before


def test_nothing_heavy_is_imported_before_it_is_needed():
    modules = ", ".join(["ra3", *(f"ra3.{name}" for name in LIGHT)])
    code = f"import sys, {modules}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "[]\n"
