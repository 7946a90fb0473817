"""Methods of mid-training on a real model and real Python, before and after RLVR: the runs of docs/real-evidence.md.

    python perf/real_evidence.py corpus CORPUS OUT       functions to train and measure on, with and without comments
    python perf/real_evidence.py pool FILE RUN=PROBLEMS ...     problems that evaluations solved at least once, for RLVR
    python perf/real_evidence.py run MODEL CORPUS OUT --stage midtrain|rlvr|benchmarks [--workers 2] [--dry-run]
    python perf/real_evidence.py recall MODEL FILE       how much of functions a model knows by heart
    python perf/comment_gain.py ntp-70/model MODEL ra3-70/model ... --json OUT/gains.jsonl     (in OUT; see there)
    python perf/real_evidence.py table OUT FOLDER        what the runs came to, as FOLDER/real-*.csv

CORPUS is the folder of perf/python_corpus.py and perf/doctest_problems.py. Every run is a command of ra3 in a folder of
its own, which is printed; those that are done are not run again. The runs of a system stand in one worker's hands;
systems are taken in the order of SYSTEMS, so that what matters most is there if time ends.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import shlex
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ra3.benchmarks import load_benchmark, named
from ra3.grading.problem_tests import CallTest, JudgeTest, Test
from ra3.grading.problems import LITERAL
from ra3.model.policy import Policy
from ra3.rollout.generate import SamplingParams, generate
from ra3.run.files import read_object
from ra3.run.results import Results

LENGTHS = range(200, 1200)
"""Characters of a function, without its comments."""
TRAIN, HELDOUT = 600, 96
"""Functions to train on and to measure on."""
CORPORA = {"stripped": 0.0, "kept": 1.0, "mixed": 0.5}
"""Share of the functions that keep their comments."""
HELD_OUT = "heldout-stripped.jsonl"
Row = dict[str, str]


@dataclass(frozen=True)
class System:
    """A model that is mid-trained with one seed; "base" is not."""

    name: str
    seed: int
    method: str = "ntp"
    corpus: str = "stripped"
    stages: tuple[str, ...] = ("midtrain",)
    tokens: int = 40_000
    """That carry a loss in the M-step."""

    @property
    def folder(self) -> str:
        """Where it is mid-trained: "ra3-kept-70"."""
        return f"{self.name}-{self.seed}"


MAIN = {"ntp": ("ntp", "stripped"), "ra3": ("ra3", "stripped"), "mixed": ("ntp", "mixed")}
"""Systems of three seeds -> method and corpus. Programs are sampled from these alone."""
STAGES = "midtrain", "rlvr", "benchmarks"
SEEDS = {70: STAGES, 71: STAGES[:2], 72: STAGES[:2]}
SYSTEMS = (
    System("base", 70, stages=STAGES),
    *(System(name, seed, *how, stages) for seed, stages in SEEDS.items() for name, how in MAIN.items()),
    *(System(method, 70, method) for method in ("branches", "hindsight", "rlp", "iwae", "bootstrap", "brite")),
    *(System(f"{method}-kept", 70, method, "kept") for method in ("ntp", "ra3")),
    System("ntp-flops", 70, tokens=114_000),  # about the FLOPs of ra3
)
MOST_TASKS = 200
"""The first of a benchmark: all of HumanEval."""
JUDGED_AGAIN = {"humaneval-plus": "humaneval", "mbpp-all": "mbpp-plus"}
"""Sets whose programs are those of another set, which has the same prompts."""
RECIPE = Path(__file__).parent.parent / "recipes/real-evidence.toml"


def draw(source: Path, out: Path) -> None:
    """Draws the functions and writes them as files of the corpora: stripped, kept and mixed."""
    out.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", TRAIN), ("heldout", HELDOUT)):
        rows = list(drawn(source / f"{split}.jsonl", count))
        for name, share in CORPORA.items():
            own = [kept if i < share * len(rows) else bare for i, (kept, bare) in enumerate(rows)]
            lines = "".join(json.dumps(row) + "\n" for row in own)
            (out / f"{split}-{name}.jsonl").write_text(lines, encoding="ascii", newline="\n")
        commented = sum(kept["text"] != bare["text"] for kept, bare in rows)
        print(f"{split}: {len(rows)} functions, {commented} of them with comments")
    heldout = (source / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    own = [line for line in heldout if comment_lines(json.loads(line)["text"])]
    (out / "heldout-people.jsonl").write_text("".join(f"{line}\n" for line in own), encoding="ascii", newline="\n")


def drawn(file: Path, count: int) -> Iterator[tuple[Row, Row]]:
    """`count` functions of a file by chance, a sixth of them from one package at most, each as it is and without its
    comments. Of what is above a method the class's header stays, which is all that a few tokens have room for."""
    with file.open(encoding="utf-8") as lines:
        rows: list[Row] = [json.loads(line) for line in lines]
    random.Random(0).shuffle(rows)
    taken = Counter[str]()
    for row in rows:
        bare, above = without_comments(row["text"]), row["context"]
        row["context"] = above[above.rfind("\nclass ") + 1 :] if row["text"][:1].isspace() else ""
        if bare and len(bare) in LENGTHS and 6 * taken[row["package"]] < count > taken.total():
            taken[row["package"]] += 1
            yield row, row | {"text": bare}


def without_comments(text: str) -> str | None:
    """Python without its comments: a line of its own goes, and what stands behind code; None where it cannot be read.

    without_comments("# a\\nx = 1  # b\\n") == "x = 1\\n"
    """
    lines, places = lines_of(text), comment_places(text)
    for row, column in places or ():
        code = lines[row][:column].rstrip()
        lines[row] = f"{code}\n" if code else ""
    return None if places is None else "".join(lines)


def lines_of(text: str) -> list[str]:
    """The lines as Python counts them: a form feed ends none."""
    return io.StringIO(text).readlines()


def comment_places(text: str) -> list[tuple[int, int]] | None:
    """Line and column of every comment, from 0; None where the text cannot be read."""
    try:
        found = [*tokenize.generate_tokens(io.StringIO(text).readline)]
    except (tokenize.TokenError, SyntaxError):
        return None
    return [(token.start[0] - 1, token.start[1]) for token in found if token.type == tokenize.COMMENT]


def comment_lines(text: str) -> set[int]:
    """The lines that are comments alone, from 0; none where the text cannot be read."""
    lines = lines_of(text)
    return {row for row, column in comment_places(text) or () if not lines[row][:column].strip()}


def commands(system: System, given: argparse.Namespace) -> Iterator[list[str]]:
    """The commands of a stage of a system, in their order."""
    out, doctests = given.out, str(given.corpus / "doctests-heldout.jsonl")

    def command(verb: str, name: str, model: str, **settings: object) -> list[str]:
        own = {"run.out": out, "run.name": name, "run.seed": system.seed, "model.path": model}
        flags = [part for key, value in {**own, **settings}.items() for part in flag(key, value)]
        return [sys.executable, "-m", "ra3", verb, str(RECIPE), *flags]

    def evaluation(folder: str, model: str, problems: str) -> list[str]:
        name, own = set_name(problems), dict[str, object]({"eval.problems": problems})
        if source := JUDGED_AGAIN.get(name):
            own["eval.samples_file"] = f"{out}/{folder}-on-{source}/samples.jsonl"
        elif problems != doctests:
            own["eval.per_band"] = MOST_TASKS
        return command("eval", f"{folder}-on-{name}", model, **own)

    own = system.folder
    before = given.model if system.name == "base" else f"{out}/{own}/model"
    after = f"{out}/{own}-rlvr/model"
    if given.stage == "midtrain":
        if system.name != "base":
            texts = {"corpus.path": out / f"train-{system.corpus}.jsonl", "corpus.heldout_path": out / HELD_OUT}
            how = {"midtrain.method": system.method, "midtrain.mstep.tokens": system.tokens}
            yield command("midtrain", own, given.model, **texts, **how)
        if system.name in ("base", *MAIN):
            yield evaluation(own, before, doctests)
    elif given.stage == "rlvr":
        sets = {"rlvr.problems": given.problems, "run.benchmarks": given.benchmarks}
        yield command("rlvr", f"{own}-rlvr", before, **sets)
        yield evaluation(f"{own}-rlvr", after, doctests)
    else:
        for folder, model in ((own, before), (f"{own}-rlvr", after)):
            yield from (evaluation(folder, model, benchmark) for benchmark in given.benchmarks.split(","))


def flag(key: str, value: object) -> list[str]:
    """A setting as words of a command line: "a.b_c", 1 -> "--a.b-c", "1"."""
    return [f"--{key.replace('_', '-')}", str(value)]


def set_name(problems: str) -> str:
    """A set as folders name it: "humaneval-plus" for "humaneval+:FILE", "doctests" for a file."""
    name = problems.partition(":")[0] if ":" in problems or "/" not in problems else "doctests"
    return name.replace("+", "-plus")


def run(given: argparse.Namespace) -> None:
    """Runs what a stage owes."""

    def work(system: System) -> None:
        for words in commands(system, given):
            folder = given.out / words[words.index("--run.name") + 1]
            print(f"$ {shlex.join(['ra3', *words[3:]])}", flush=True)
            if given.dry_run or (folder / "results.json").is_file():
                continue
            with (given.out / f"{folder.name}.log").open("ab") as log:
                code = subprocess.run([*words, *["--resume"] * folder.exists()], stdout=log, stderr=log).returncode
            if code:
                return print(f"{folder.name} ended with {code}: {log.name}", flush=True)

    wanted = [system for system in SYSTEMS if given.stage in system.stages]
    if given.only:
        wanted = [system for system in wanted if system.folder in given.only.split(",")]
    with ThreadPoolExecutor(given.workers) as pool:
        list(pool.map(work, wanted))


def pool(file: Path, sources: Sequence[str]) -> None:
    """Writes those problems that evaluations solved at least once; a source is "RUN=PROBLEMS"."""
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for run, _, problems in (source.partition("=") for source in sources):
            counts = Results.from_json(read_object(Path(run) / "results.json"))[0].problems
            solved = {count.id for count in counts if count.passed}
            own = [row for row in problem_rows(problems) if row["id"] in solved]
            lines.writelines(json.dumps(row) + "\n" for row in own)
            print(f"{len(own)} of {len(counts)} problems of {problems}")


def problem_rows(problems: str) -> list[dict[str, Any]]:
    """The rows of a file of problems, or those that a benchmark of functions would have in one."""
    if not named(problems):
        return [json.loads(line) for line in Path(problems).read_text(encoding="utf-8").splitlines()]
    return [
        {"id": one.id, "prompt": one.prompt, "entry_point": one.entry_point, "stop": one.stop, "meta": one.meta}
        | {"tests": [test_row(test) for test in one.tests]}
        for one in load_benchmark(problems).problems
    ]


def test_row(test: Test) -> dict[str, Any]:
    """A test of a function as a file of problems has it."""
    if isinstance(test, CallTest):
        return {"args": [{LITERAL: repr(value)} for value in test.args], "expected": {LITERAL: repr(test.expected)}}
    assert isinstance(test, JudgeTest)
    return {"judge": test.source, "names": test.names}


def recall(model: Path, file: Path, count: int = 32) -> None:
    """Prints for how many functions the `count` tokens after their first half are what the model goes on with."""
    policy = Policy.load(model, "pretrained", torch.float32, torch.device("cpu"), 0)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [policy.tokenizer(row["context"] + row["text"])["input_ids"] for row in rows]
    parts = [(ids[: len(ids) // 2], ids[len(ids) // 2 :][:count]) for ids in texts if len(ids) >= 2 * count]
    written = generate(policy, [given for given, _ in parts], 1, SamplingParams(count, 0.0), [0] * len(parts))
    own = [written.ids[r][written.action_mask[r]].tolist() for r in range(len(parts))]
    alike = [sum(a == b for a, b in zip(ids, truth, strict=False)) for ids, (_, truth) in zip(own, parts, strict=True)]
    whole = sum(same == count for same in alike)
    print(f"{whole} of {len(parts)} functions: all {count} tokens; {sum(alike) / count / len(parts):.1%} of the tokens")


def table(out: Path, folder: Path) -> None:
    """Writes programs, held-out text, rewards and comments' gains of the runs that have ended. Rows of what has none in
    `out` stay as they are in the folder's files."""
    columns: dict[str, list[dict[str, object]]] = {"programs": [], "heldout": [], "rewards": [], "gains": []}
    for system, after in ((system, after) for system in SYSTEMS for after in ("", "-rlvr")):
        key = {"system": system.name + after.replace("-", "+"), "seed": system.seed}
        for file in sorted(out.glob(f"{system.folder}{after}-on-*/results.json")):
            own = {**key, "set": file.parent.name.partition("-on-")[2]}
            counts = Results.from_json(read_object(file))[0].problems
            columns["programs"] += [{**own, "problem": c.id, "samples": c.judged, "passed": c.passed} for c in counts]
    for system in SYSTEMS:
        key, file = {"system": system.name, "seed": system.seed}, out / system.folder / "results.json"
        scores = Results.from_json(read_object(file))[0].scores if file.is_file() else []
        for name, model in [("base", "base")] * (system.name == "ntp") + [(system.name, system.method)]:
            own = {**key, "system": name}
            found = [score for score in scores if score.model == model]
            columns["heldout"] += [{**own, "measure": score.metric, "mean": f"{score.mean:.5f}"} for score in found]
        learned = out / f"{system.folder}-rlvr"
        ended = (learned / "results.json").is_file()
        lines = (learned / "metrics.jsonl").read_text(encoding="utf-8").splitlines() if ended else []
        steps = [step for step in map(json.loads, lines) if "pass_rate" in step]
        own = {**key, "system": f"{system.name}+rlvr"}
        columns["rewards"] += [{**own, "step": step["step"], "pass_rate": step["pass_rate"]} for step in steps]
    gains = out / "gains.jsonl"
    for line in gains.read_text(encoding="utf-8").splitlines() if gains.is_file() else ():
        found = json.loads(line)
        columns["gains"].append({"system": folder_of(found.pop("model")), **found})
    for name, rows in columns.items():
        path = folder / f"real-{name}.csv"
        kept: list[dict[str, Any]] = [*csv.DictReader(path.open(encoding="ascii"))] if path.is_file() else []
        new = {cell(row) for row in rows}
        rows += [row for row in kept if cell(row) not in new]
        if name != "gains":  # there the first is what the others are compared with
            rows.sort(key=order)
        with path.open("w", encoding="ascii", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def cell(row: Mapping[str, object]) -> tuple[str, ...]:
    """What a row belongs to: system, seed, set."""
    return tuple(str(row[key]) for key in ("system", "seed", "set") if key in row)


def order(row: Mapping[str, object]) -> tuple[object, ...]:
    """Where the rows of a system stand in a table."""
    name, _, after = str(row["system"]).partition("+")
    known = list(dict.fromkeys(system.name for system in SYSTEMS))
    place = known.index(name) if name in known else len(known)
    return str(row.get("set", "")), place, after, str(row.get("seed", ""))


def folder_of(model: str) -> str:
    """The folder of a system by that of its model; "base" for any other."""
    folder = Path(model).parent.name
    return folder if folder in {system.folder for system in SYSTEMS} else "base"


def main() -> None:
    """Does what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    acts = parser.add_subparsers(dest="act", required=True)
    one = acts.add_parser("corpus")
    one.add_argument("corpus", type=Path)
    one.add_argument("out", type=Path)
    two = acts.add_parser("run")
    two.add_argument("model")
    two.add_argument("corpus", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--stage", choices=STAGES, required=True)
    two.add_argument("--problems", help="of RLVR; default: doctests-train.jsonl of CORPUS")
    sets = "humaneval,humaneval+,mbpp+,mbpp-all"
    two.add_argument("--benchmarks", default=sets, help="NAME or NAME:FILE, with commas between")
    two.add_argument("--workers", type=int, default=2)
    two.add_argument("--only", help="systems, such as ntp-70, with commas between")
    two.add_argument("--dry-run", action="store_true")
    four = acts.add_parser("pool")
    four.add_argument("file", type=Path)
    four.add_argument("sources", nargs="+", metavar="RUN=PROBLEMS")
    five = acts.add_parser("recall")
    five.add_argument("model", type=Path)
    five.add_argument("file", type=Path)
    three = acts.add_parser("table")
    three.add_argument("out", type=Path)
    three.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.act == "pool":
        return pool(given.file, given.sources)
    if given.act == "recall":
        return recall(given.model, given.file)
    if given.act == "table":
        return table(given.out, given.folder)
    if given.act == "corpus":
        return draw(given.corpus, given.out)
    given.problems = given.problems or str(given.corpus / "doctests-train.jsonl")
    run(given)


if __name__ == "__main__":
    main()
