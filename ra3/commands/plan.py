"""What a command would take, for `--dry-run`: documents, updates, time and memory of every stage. Nothing is run.

A part of the corpus stands for all of it, and small trials (`speed`) for passes over whole rows. Of sampled programs it
is known that they have at most `max_new_tokens` tokens, unless they end within a trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ra3.commands.corpus_look import look_at_corpus
from ra3.commands.inputs import load_eval_problems, load_policy, load_rl_problems
from ra3.commands.memory import memory_plan, refuse_too_large
from ra3.commands.speed import Speed, Stopwatch, measure_speed
from ra3.commands.stage_costs import MidtrainingCosts, PlannedStage, evaluation_stage, rlvr_stage
from ra3.config.settings import Config
from ra3.rollout.programs import encode_prompts
from ra3.run.ledger import duration

LEAST_UNSURE, BUSY = 0.15, 0.8
"""What no trial tells: thinking changes as the model learns. And the share of the processor that is worth a warning."""
TRAINS_WITH = {"midtrain": ("adamw",), "demo": ("adamw",), "rlvr": ("adamw",)}
"""The optimisers of a command, beside the M-step's."""


def plan_lines(command: str, config: Config) -> Iterator[str]:
    """The plan line by line, each as soon as it is known. Loads the model and a part of the corpus, and times trials.
    UserError where the command does not fit in memory."""
    policy = load_policy(config.run, config.model)
    threads = f", {torch.get_num_threads()} threads" if policy.device.type == "cpu" else ""
    size = f"{policy.source}: {policy.num_parameters:,} parameters"
    yield f"  model      {size}, {policy.device}{threads}, {config.run.dtype}"
    yield from (f"             {note}" for note in policy.notes)
    whole = command == "annotate"
    corpus = look_at_corpus(config, policy, whole) if whole or command in ("midtrain", "demo") else None
    if corpus:
        yield f"  read       {corpus.summary}"
        yield f"  corpus     {corpus.text()}"
    memory = memory_plan(policy, config, command, corpus.lengths if corpus else ())
    yield f"  memory     {memory.text()}"
    refuse_too_large(memory, config)
    problems = load_rl_problems(config).problems if command in ("rlvr", "demo") else []
    exam = load_eval_problems(config).problems if command in ("eval", "demo") else []
    text = corpus.ids if corpus else [i for ids in encode_prompts(policy, (problems or exam)[:8]) for i in ids]
    watch, own = Stopwatch(policy.device), (config.midtrain.mstep.optimizer,) if corpus else ()
    optimizers = (*TRAINS_WITH[command], *own) if command in TRAINS_WITH else ()
    speed, stages = measure_speed(watch, policy, text, config.update, optimizers), list[PlannedStage]()
    if corpus:
        costs = MidtrainingCosts.of(config, policy, corpus, speed, memory, watch.share)
        methods = ("ntp", "ra3") if command == "demo" else (config.midtrain.method,)
        num_rows = round(corpus.num_rows * (1 + corpus.num_heldout / corpus.num_all))
        stages += [costs.annotation(num_rows)] if whole else costs.stages(methods)
    if problems:
        stages.append(rlvr_stage(config, policy, problems, watch, speed, memory).times(2 if command == "demo" else 1))
    if exam:
        stages.append(evaluation_stage(config, policy, exam, watch, memory).times(5 if command == "demo" else 1))
    stages = [stage._replace(seconds=stage.seconds / watch.share) for stage in stages]
    yield from (stage.line() for stage in stages)
    yield from _summary(stages, speed, watch, corpus.spread if corpus else 0.0)
    yield from ("settings", *(f"  {key} = {value}" for key, value in config.flat().items()))


def _summary(stages: Sequence[PlannedStage], speed: Speed, watch: Stopwatch, spread: float) -> Iterator[str]:
    """The whole, and how sure it is; `spread` is that of the corpus."""
    total, most = sum(stage.seconds for stage in stages), max(stage.memory for stage in stages)
    unsure = max(LEAST_UNSURE, math.hypot(watch.spread, spread))
    yield f"  in all     about {duration(total)} (\u00b1 {unsure:.0%}), {most / 2**30:.1f} GiB at the peak"
    rates = f"forward {speed.forward / 1e9:.3g} GFLOP/s"
    rates += f", with backward {speed.training / 1e9:.3g}" if speed.training else ""
    steps = "".join(f", a step of {kind} {duration(seconds)}" for kind, seconds in speed.optimizer_s.items())
    found = f"{rates}; a decoding pass {duration(speed.decode_s)}{steps}"
    yield f"  timed      {found} (trials of {duration(watch.wall_s)}, repeated: \u00b1 {watch.spread:.0%})"
    if watch.share < BUSY:
        busy = f"other programs are busy: the trials got {watch.share:.0%} of the processor"
        yield f"  warning    {busy}; alone the run would take about {duration(total * watch.share)}"
