"""Run folders for tests of what reads them: written by the real `Run` and `Metrics`, with numbers from formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ra3.run.folder import Run
from ra3.run.metrics import Metrics

SYSTEMS = ("base", "ntp", "ra3", "ntp-rlvr", "ra3-rlvr")
START = {"base": 0.30, "ntp": 0.42, "ra3": 0.58, "ntp+rlvr": 0.66, "ra3+rlvr": 0.86}
BANDS = {"known": 0.12, "edge": 0.0, "hard": -0.22}
CONTEXT = 'ba = "ke"\nke = "zu"\nzu = "evens"\n'
STEPS = (
    "def ba(x):\n",
    "    y = []\n",
    "    for v in x:\n",
    "        if v % 2 == 0:\n",
    "            y.append(v)\n",
    "    return y\n",
)


def wobble(i: int) -> float:
    """A reproducible unevenness in [-1, 1]."""
    return math.sin(12.9898 * (i + 1)) * math.cos(4.1 * i)


def estep_values(i: int) -> dict[str, float]:
    rise = 1 - math.exp(-i / 7)
    return {
        "elbo": -9.5 + 7.6 * rise + 0.4 * wobble(i),
        "return": -3.1 + 2.4 * rise + 0.15 * wobble(i + 3),
        "think_rate": 0.31 + 0.2 * rise + 0.03 * wobble(i + 1),
        "latent_gain": -0.02 + 0.21 * rise + 0.015 * wobble(i + 2),
        "option_duration": 3.4 - rise,
        "comment_tokens": 4.2,
        "copy_rate": 0.01,
        "dead_groups": 0.1,
        "entropy": 0.9 * math.exp(-i / 30),
        "logp_gap_max": 2.4e-7,
        "clip_share": 0.03,
        "grad_norm": 1.2 + 0.2 * wobble(i),
        "tokens_generated": 3100.0,
        "tokens_trained": 20480.0,
    }


def mstep_values(i: int, method: str) -> dict[str, float]:
    fall = math.exp(-i / 14)
    act = {"expert_nll": (0.44 if method == "ntp" else 0.31) + 0.3 * fall + 0.01 * wobble(i)}
    latents = {"expert_nll_act": 0.47 + 0.27 * fall, "latent_gain": 0.16 - 0.03 * fall} if method == "ra3" else {}
    return {**act, **latents, "nll_total": 0.5 + 0.4 * fall, "learning_rate": 1e-3, "tokens_trained": 16384.0}


def rlvr_values(i: int, method: str) -> dict[str, float]:
    start, end, pace = (0.55, 0.88, 6) if method == "ra3" else (0.40, 0.68, 12)
    rate = end - (end - start) * math.exp(-i / pace) + 0.025 * wobble(i)
    return {
        "pass_rate": rate,
        "reward": rate,
        "advantage_std": 0.4,
        "dead_groups": 0.3,
        "truncated": 0.01,
        "infra": 0.0,
    }


def tokens(sign: float, thinks: bool) -> Iterator[dict]:
    """A document with one intention; `sign` flips who gets the credit."""
    yield {"text": CONTEXT, "role": "context"}
    for number, step in enumerate(STEPS):
        if number == 1 and thinks:
            for place, text in enumerate(("#", " ke", " zu", " evens", "\n")):
                role = "latent" if place else "decision"
                yield {"text": text, "role": role, "advantage": sign * (1.4 - 0.2 * place), "logp": -0.1 - 0.2 * place}
        words = [part + " " for part in step.rstrip("\n").split(" ")]
        for place, text in enumerate([*words[:-1], words[-1].rstrip(" "), "\n"]):
            if place == 0 and not (number == 1 and thinks):
                yield {"text": text, "role": "decision", "advantage": -0.3 * sign, "logp": -0.6}
            else:
                yield {"text": text, "role": "expert", "logp": -0.05 * (place + 1)}


def sampled(sign: float) -> Iterator[dict]:
    """A program of RLVR: everything after the prompt was sampled and shares one advantage."""
    yield {"text": CONTEXT + STEPS[0], "role": "context"}
    for line in ("# ke zu evens\n", *STEPS[1:]):
        for text in [part + " " for part in line.rstrip("\n").split(" ")] + ["\n"]:
            yield {"text": text, "role": "sampled", "advantage": 0.8 * sign, "logp": -0.3}


def rollouts(stage: str, step: int) -> Iterator[dict]:
    for sample, sign in enumerate((1.0, -1.0, 0.2)):
        record = {
            "stage": stage,
            "round": 0,
            "step": step,
            "document": f"expert:{7 + step}",
            "group": 0,
            "sample": sample,
        }
        if stage == "estep":
            late = step > 0
            body = list(tokens(sign, thinks=late or sample == 0))
            yield {**record, "reward": -2.4 + sign + late, "tokens": body, "verdict": None}
        else:
            verdict = "passed" if sign > 0 else "wrong"
            yield {**record, "reward": float(sign > 0), "tokens": list(sampled(sign)), "verdict": verdict}


def rows(model: str) -> list[dict]:
    found = []
    for band, shift in BANDS.items():
        for metric, extra in (("pass@1", 0.0), ("pass@5", 0.09)):
            mean = min(0.98, START[model] + shift + extra)
            numbers = {"mean": mean, "low": mean - 0.045, "high": min(1.0, mean + 0.045)}
            found.append({"model": model, "band": band, "metric": metric, **numbers, "problems": 100, "samples": 20})
    return found


def curves(model: str) -> dict[str, list[dict]]:
    slope = {"base": 0.05, "ra3": 0.24, "ra3+rlvr": 0.26}.get(model, 0.0)
    think = [0.3 if model == "base" else 0.0 + slope * (x - 1) for x in (1, 2, 3, 4)]
    solve = [START[model] + 0.12 * (2.5 - x) for x in (1, 2, 3, 4)]
    named = {"think_rate_by_chain": think, "pass@1_by_chain": solve}
    return {
        name: [
            {"model": model, "x": x, "mean": y, "low": max(0.0, y - 0.04), "high": min(1.0, y + 0.04)}
            for x, y in enumerate((min(1.0, max(0.0, y)) for y in ys), start=1)
        ]
        for name, ys in named.items()
    }


def write_stage(metrics: Metrics, stage: str, updates: int, method: str) -> None:
    for i in range(updates):
        values = {"estep": estep_values(i), "mstep": mstep_values(i, method), "rlvr": rlvr_values(i, method)}
        metrics.log(stage, 0, i, values[stage])
        if stage != "mstep" and i in (0, updates - 1):
            for record in rollouts(stage, i):
                metrics.rollout(record)


def write_run(out: Path, name: str, updates: int = 24, results: bool = True) -> Path:
    """One run folder as the demo leaves it: base has results only, midtrain and RLVR runs have metrics too."""
    method = name.split("-")[0]
    config = {"run": {"seed": 0, "out": str(out)}, "model": {"path": "functions"}, "midtrain": {"method": method}}
    command = "rlvr" if "rlvr" in name else "midtrain"
    with Run.create(out, name, config, command) as run, closing(Metrics(run)) as metrics:
        stages = {"base": (), "ntp": ("mstep",), "ra3": ("estep", "mstep")}.get(name, ("rlvr",))
        for stage in stages:
            write_stage(metrics, stage, updates, method)
        model = name.replace("-", "+")
        if results:
            run.write_json("results.json", {"rows": rows(model), "curves": curves(model)})
    return run.folder


def write_demo(out: Path, updates: int = 24) -> Path:
    """A folder of five runs."""
    for name in SYSTEMS:
        write_run(out / "demo", name, updates)
    return out / "demo"
