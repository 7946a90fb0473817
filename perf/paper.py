"""The paper's run (arXiv 2509.25810) from the corpus to its table: mid-training by NTP and RA3, RLVR, evaluation.

    python perf/paper.py MODEL [--scale packages] [--benchmarks humaneval,mbpp,humaneval+,mbpp+] [--dry-run]

MODEL is a recipe in recipes/paper. What it runs are commands of ra3, each in a folder of its own under
runs/paper-MODEL-SCALE, which go on where they stopped when this is run again. ``--scale full`` trains on the 1B tokens
of the recipe, for which name a corpus of that size (``--corpus``); ``packages`` makes one pass over the corpus of
perf/python_corpus.py; ``tiny`` shows in minutes that everything runs. Benchmarks are NAME or NAME:FILE, as ``ra3 eval
--bench`` has them; the held-out doctest problems of the corpus are always measured on.

Intervals are 95%, by bootstrap over tasks; the tasks that two sets share (HumanEval and HumanEval+) are drawn together.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ra3.config.load import load
from ra3.errors import UserError
from ra3.measure.statistics import pass_at_k
from ra3.run.files import read_object
from ra3.run.results import Results

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "recipes/paper"
PUBLISHED = {
    "llama-3.2-1b": {"base": (23.3, 35.3), "ntp": (25.3, 40.3), "ra3": (29.8, 43.1)},
    "qwen2.5-1.5b": {"base": (37.9, 54.8), "ntp": (41.7, 58.7), "ra3": (46.6, 62.2)},
    "llama-3.1-8b": {"base": (41.0, 59.3), "ntp": (47.7, 63.1), "ra3": (48.9, 64.6)},
}
"""The paper's averages of HumanEval, MBPP, HumanEval+ and MBPP+: pass@1 and pass@5, in percent."""
SCALES = ("packages", "tiny")
"""Recipes that are laid over a model's."""
SYSTEMS = ("base", "ntp", "ra3", "ntp+rlvr", "ra3+rlvr")
TINY_PACKAGES = "toolz,more-itertools"
RESAMPLES = 2000
Scores = Mapping[str, Mapping[str, tuple[float, ...]]]
"""{set: {task: (pass@1, pass@5)}}."""


def main() -> None:
    """Runs what is owed and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[file.stem for file in RECIPES.glob("*.toml") if file.stem not in SCALES])
    parser.add_argument("--scale", choices=[*SCALES, "full"], default="packages")
    parser.add_argument("--benchmarks", help="default: the paper's four; with --scale tiny none")
    parser.add_argument("--corpus", type=Path, help="another corpus to train on than python-corpus/train.jsonl")
    parser.add_argument("--wheels", type=Path, help="folder with the packages of the corpus; default: pip's index")
    parser.add_argument("--model-path", help="another model than the recipe's")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    given = parser.parse_args()
    tiny = given.scale == "tiny"
    given.benchmarks = given.benchmarks or ("" if tiny else "humaneval,mbpp,humaneval+,mbpp+")
    out = Path("runs") / f"paper-{given.model}-{given.scale}"
    owed = [*corpus_commands(given, tiny), *commands(given, out)]
    for words in owed:
        print(f"$ {shlex.join(words)}", flush=True)
        if not given.dry_run and (code := subprocess.run([sys.executable, *words[1:]]).returncode):
            sys.exit(f"this command ended with {code}; the same make goes on from there")
    if not given.dry_run:
        sets = [*filter(None, given.benchmarks.split(",")), "doctests"]
        print(table(given.model, {name: read_scores(out, name, sets) for name in SYSTEMS}))


def corpus_commands(given: argparse.Namespace, tiny: bool) -> Iterator[list[str]]:
    """What makes the corpus and its problems, as far as they are not there."""
    folder = "python-corpus-tiny" if tiny else "python-corpus"
    if not Path(folder, "manifest.json").is_file():
        names = ",".join(name for name in given.benchmarks.split(",") if not name.partition(":")[0].endswith("+"))
        part = ["--packages", TINY_PACKAGES] if tiny else []
        wheels = ["--wheels", str(given.wheels)] if given.wheels else []
        yield ["python", str(ROOT / "perf/python_corpus.py"), folder, "--benchmarks", names, *part, *wheels]
    if not Path(folder, "doctests-heldout.jsonl").is_file():
        yield ["python", str(ROOT / "perf/doctest_problems.py"), folder]


def commands(given: argparse.Namespace, out: Path) -> Iterator[list[str]]:
    """The commands of ra3 in their order."""
    recipes = [str(RECIPES / f"{given.model}.toml")]
    recipes += [str(RECIPES / f"{given.scale}.toml")] if given.scale in SCALES else []
    config = load(recipes)

    def command(verb: str, name: str, model: str, *words: str) -> list[str]:
        place = ["--run.out", str(out), "--run.name", name, "--model.path", model]
        return ["python", "-m", "ra3", verb, *recipes, *place, *words, "--resume"]

    base, models = given.model_path or config.model.path, dict[str, str]()
    corpus = ["--corpus.path", str(given.corpus)] if given.corpus else []
    for method in ("ntp", "ra3"):
        yield command("midtrain", method, base, "--midtrain.method", method, *corpus)
        yield command("rlvr", f"{method}-rlvr", str(out / method / "model"))
        models |= {method: f"{out / method}/model", f"{method}+rlvr": f"{out / method}-rlvr/model"}
    problems = str(Path(config.rlvr.problems).with_name("doctests-heldout.jsonl"))
    for system in SYSTEMS:
        for benchmark in [*filter(None, given.benchmarks.split(",")), "doctests"]:
            source = problems if benchmark == "doctests" else benchmark
            name = eval_name(system, benchmark)
            yield command("eval", name, models.get(system, base), "--eval.problems", source)


def eval_name(system: str, benchmark: str) -> str:
    """The run folder of an evaluation: ``eval_name("ra3+rlvr", "mbpp+:F.gz") == "eval-ra3-rlvr-mbpp-plus"``."""
    name = benchmark.partition(":")[0].replace("+", "-plus")
    return f"eval-{re.sub('[^a-z0-9]', '-', system)}-{name}"


def read_scores(out: Path, system: str, sets: Sequence[str]) -> Scores:
    """pass@1 and pass@5 of every task of every set."""
    found = {}
    for benchmark in sets:
        results, _ = Results.from_json(read_object(out / eval_name(system, benchmark) / "results.json"))
        own = [problem for problem in results.problems if problem.judged >= 5]
        found[benchmark.partition(":")[0]] = {
            problem.id: tuple(pass_at_k(problem.judged, problem.passed, k) for k in (1, 5)) for problem in own
        }
    return found


def average(scores: Scores) -> np.ndarray:
    """[3,2]: mean over sets of the mean over tasks of pass@1 and pass@5, in percent, and the bounds of its interval."""
    generator, draws, means = np.random.default_rng(0), list[np.ndarray](), list[np.ndarray]()
    families: dict[str, list[str]] = {}
    for name in scores:
        families.setdefault(name.rstrip("+"), []).append(name)
    for names in families.values():
        tasks = sorted(set().union(*(scores[name] for name in names)))
        drawn = generator.integers(len(tasks), size=(RESAMPLES, len(tasks)))
        for name in names:
            values = np.array([scores[name].get(task, (np.nan, np.nan)) for task in tasks])
            means.append(np.nanmean(values, axis=0))
            draws.append(np.nanmean(values[drawn], axis=1))
    bounds = np.quantile(np.mean(draws, axis=0), (0.025, 0.975), axis=0)
    return 100 * np.stack([np.mean(means, axis=0), *bounds])


def table(model: str, scores: Mapping[str, Scores]) -> str:
    """Every system's scores beside the paper's, and RA3 less NTP on the same tasks."""
    sets = list(scores["base"])
    measured = [name for name in sets if name != "doctests"] or sets
    head = [model, *sets, "average pass@1", "paper", "average pass@5", "paper"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for system, own in scores.items():
        each = [f"{average({name: own[name]})[0, 0]:.1f}" for name in sets]
        whole, paper = average({name: own[name] for name in measured}), PUBLISHED.get(model, {}).get(system)
        told = [shown(whole[:, k]) + f" | {paper[k] if paper else ''}" for k in (0, 1)]
        lines.append(f"| {system} | {' | '.join(each)} | {' | '.join(told)} |")
    for after in ("", "+rlvr"):
        ra3, ntp = scores[f"ra3{after}"], scores[f"ntp{after}"]
        gain = average({name: less(ra3[name], ntp[name]) for name in measured})
        lines.append(f"\nRA3{after} - NTP{after}, pass@1: {shown(gain[:, 0], '+')}; pass@5: {shown(gain[:, 1], '+')}")
    lines.append(f"\nAverages here: {', '.join(measured)}; the paper's: HumanEval, MBPP, both + sets, no intervals.")
    return "\n".join(lines)


def less(a: Mapping[str, tuple[float, ...]], b: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """a - b on the tasks that both have."""
    return {task: tuple(x - y for x, y in zip(a[task], b[task], strict=True)) for task in a if task in b}


def shown(value: np.ndarray, sign: str = "") -> str:
    """[3] mean and bounds as text."""
    mean, low, high = value
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
