"""The demo: base -> {NTP, RA3} at equal training tokens -> RLVR from each -> evaluation of all five -> one report.

Each part is a run folder of its own inside the demo's folder, made by the same code as `ra3 midtrain` and `ra3 rlvr`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ra3.commands.inputs import load_documents, load_eval_problems, load_policy, load_rl_problems
from ra3.commands.run import (
    RunOptions,
    heldout_results,
    open_run,
    open_sandbox,
    save_model,
    write_annotated,
)
from ra3.config.settings import Config
from ra3.em.round import trained_once
from ra3.evaluate import evaluate
from ra3.measure.pass_at_k import paired_differences
from ra3.midtrain import midtrain
from ra3.model.policy import Policy
from ra3.report import write_report
from ra3.rlvr import rlvr
from ra3.run.checkpoints import write_checksums
from ra3.run.display import show_results
from ra3.run.files import disk_errors, fingerprint_items, to_json, write_atomic
from ra3.run.recorder import Recorder
from ra3.run.results import Difference, Results
from ra3.sandbox import Sandbox
from ra3.seeds import derive

METHODS = ("ntp", "ra3")


def run(config: Config, options: RunOptions) -> Path:
    """The whole demo; returns its folder. Restarting it with --resume does only what is missing."""
    folder = Path(config.run.out) / (config.run.name or "demo")
    base = load_policy(config.run, config.model)
    demo = Demo(config, replace(options, command="demo"), folder)
    results = [demo.part("base", config, base, lambda part: part.evaluate(base))]
    for method in METHODS:
        own = with_method(config, method)
        results.append(demo.part(method, own, base, lambda part, own=own: mid_trained(part, base, own)))
    for method in METHODS:
        start = demo.trained[method]
        name = f"{method}+rlvr"
        results.append(
            demo.part(name.replace("+", "-"), config, start, lambda part, s=start, n=name: rl_trained(part, s, n))
        )
    summary = Results.merge([*results, Results(differences=differences(results, config))])
    with disk_errors(folder, "write results.json"):
        write_atomic(folder / "results.json", json.dumps(to_json(summary.to_json()), indent=2).encode())
    show_results(summary.scores, write_report(folder))
    return folder


def differences(results: Sequence[Results], config: Config) -> list[Difference]:
    """RA3 against the base and against NTP, before and after RLVR, on the same problems."""
    counts = {part.problems[0].model: part.problems for part in results}
    pairs = (("ra3", "base"), ("ra3", "ntp"), ("ra3+rlvr", "ntp+rlvr"))
    seed = derive(config.run.seed, "differences")
    return [row for a, b in pairs for row in paired_differences(counts[a], counts[b], seed)]


class Part:
    """One run folder of the demo while it is open."""

    def __init__(self, name: str, config: Config, recorder: Recorder, sandbox: Sandbox, demo: Demo):
        self.name, self.config, self.recorder, self.sandbox, self.demo = name, config, recorder, sandbox, demo

    def evaluate(self, policy: Policy, name: str = "") -> Results:
        """The evaluation, the same for every part."""
        problems, own = load_eval_problems(self.config).problems, self.config
        self.recorder.run.pin_inputs(exam=fingerprint_items(problems))
        return evaluate(self.recorder, name or self.name, policy, problems, self.sandbox, own.eval, own.run.seed)


class Demo:
    """The demo's folder and the models made so far."""

    def __init__(self, config: Config, options: RunOptions, folder: Path):
        self.config, self.options, self.folder = config, options, folder
        self.trained: dict[str, Policy] = {}

    def part(self, name: str, config: Config, policy: Policy, act: Callable[[Part], Results]) -> Results:
        """Runs `act` in the run folder `name`; its results go to the folder's results.json and are returned."""
        run = config.run.model_copy(update={"out": str(self.folder), "name": name})
        own = config.model_copy(update={"run": run})
        with open_run(own, self.options, policy) as recorder, open_sandbox(own, recorder) as sandbox:
            results = act(Part(name, own, recorder, sandbox, self))
            recorder.run.write_json("results.json", results.to_json())
            with recorder.run.guard("write files.json"):
                write_checksums(recorder.run.folder)
            return results


def with_method(config: Config, method: str) -> Config:
    """The same settings with another mid-training method."""
    return config.model_copy(update={"midtrain": config.midtrain.model_copy(update={"method": method})})


def mid_trained(part: Part, base: Policy, config: Config) -> Results:
    """Mid-trains `base`, keeps the model, and measures it."""
    train, heldout = load_documents(config, base).record(part.recorder.run)
    policy = midtrain(part.recorder, base, train, config.midtrain, config.update, config.run.seed)
    part.demo.trained[part.name] = policy
    save_model(part.recorder.run, policy)
    latents = Results(latents=write_annotated(part.recorder, policy, train, config))
    measured = heldout_results(part.recorder, {part.name: policy}, heldout, config)
    return Results.merge([latents, measured, part.evaluate(policy)])


def rl_trained(part: Part, start: Policy, name: str) -> Results:
    """RLVR from `start`, then the evaluation."""
    config, copy = part.config, start.snapshot()
    problems = load_rl_problems(config).problems
    policy = trained_once(
        part.recorder,
        "rlvr",
        start,
        lambda: rlvr(part.recorder, copy, problems, part.sandbox, config.rlvr, config.update, config.run.seed),
    )
    save_model(part.recorder.run, policy)
    return part.evaluate(policy, name)
