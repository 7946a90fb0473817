"""How fast this machine is with a model: small trials of a forward pass, of training and of decoding, for a plan.

A trial is made larger until it takes TRIAL_S seconds or is a whole micro-batch, and then done again; the fastest
counts, as the one least disturbed by other programs. What a run takes follows from the FLOPs of its tokens:

    seconds of a pass = FLOPs / (FLOP/s of the trials),  of one of few tokens, as in decoding, decode_s more
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from ra3.config.settings import UpdateSettings
from ra3.em.mstep import next_token_step
from ra3.model.policy import Policy
from ra3.model.update import (
    MAX_PASS_TOKENS_ON_CPU,
    Optimizer,
    forward_flops,
    layer_matrices,
    make_optimizer,
    score,
    training_cost,
)
from ra3.rollout.generate import SamplingParams, generate
from ra3.rows import RowBuilder, Rows, build
from ra3.run.checkpoints import to_bytes

TRIAL_S, REPEATS = 0.4, 3
MEANINGFUL_S = 0.05
"""Of trials that are shorter, nothing follows from how far they lie apart."""
FIRST_TOKENS, ROW_TOKENS = 32, 256
"""Tokens of the first trial, and at most of a row of one."""
DECODED_ROWS, DECODED_TOKENS = 4, 5
FIRST_LAYER = ".0."
"""What the names of the first layer's parameters hold: an optimiser is timed on these alone."""
SAVED_BYTES = 2**26
"""Of a checkpoint this much is made in a trial."""


@dataclass
class Stopwatch:
    """Times trials, and keeps how far repeated ones lay apart and how much of the processor they got."""

    device: torch.device
    spread: float = 0.0
    """Of the trials that lay furthest apart: how much longer the middle one took than the fastest, as a share."""
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def once(self, work: Callable[[], object]) -> float:
        """Seconds of one call: on a CPU those in which its threads were at work, whatever else the machine does."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        wall, cpu = time.perf_counter() - wall, (time.process_time() - cpu) / torch.get_num_threads()
        self.wall_s, self.cpu_s = self.wall_s + wall, self.cpu_s + cpu
        return cpu if self.device.type == "cpu" else wall

    def fastest(self, work: Callable[[], object]) -> float:
        """Seconds of the fastest of a few calls; one that is slow is not repeated."""
        taken = [self.once(work)]
        while len(taken) < REPEATS and sum(taken) < 2 * REPEATS * TRIAL_S:
            taken.append(self.once(work))
        best, middle = min(taken), sorted(taken)[len(taken) // 2]
        if best > MEANINGFUL_S:
            self.spread = max(self.spread, middle / best - 1)
        return best

    @property
    def share(self) -> float:
        """Of the time by the clock, how much the threads were at work."""
        return min(1.0, self.cpu_s / max(self.wall_s, 1e-9)) if self.device.type == "cpu" else 1.0


@dataclass(frozen=True)
class Speed:
    """What the trials have shown. FLOPs as `ra3.model.update` counts them."""

    forward: float
    """FLOP/s of a pass without gradient."""
    training: float = 0.0
    """FLOP/s of a pass forward and backward,"""
    passes: float = 3.0
    """which takes so many times the FLOPs of one forward."""
    decode_s: float = 0.0
    """Seconds of a decoding pass beside its FLOPs."""
    optimizer_s: dict[str, float] = field(default_factory=dict)
    """Seconds of an optimiser's step, by its kind."""
    saving: float = math.inf
    """Bytes/s of a checkpoint, before the disk has it."""


def measure_speed(
    watch: Stopwatch, policy: Policy, ids: Sequence[int], update: UpdateSettings, optimizers: Sequence[str] = ()
) -> Speed:
    """Times the model on this text; training, too, where optimisers are named. The policy stays as it is."""
    size, most = FIRST_TOKENS, update.micro_batch_tokens
    most = min(most, MAX_PASS_TOKENS_ON_CPU) if policy.device.type == "cpu" else most
    scoring = lambda rows: score(policy, rows, rows.expert, most)  # noqa: E731
    rows = rows_of(policy, ids, size)
    while watch.once(partial(scoring, rows)) < TRIAL_S and size < most:
        size = min(2 * size, most)
        rows = rows_of(policy, ids, size)
    flops = forward_flops(policy, rows.length, float(rows.expert.sum()))
    forward = flops / watch.fastest(partial(scoring, rows))
    prompt, params = [list(ids[:FIRST_TOKENS])], [SamplingParams(n) for n in (1, DECODED_TOKENS)]
    seeds = list(range(DECODED_ROWS))
    shorter, longer = (watch.fastest(partial(generate, policy, prompt, DECODED_ROWS, own, seeds)) for own in params)
    in_a_pass = forward_flops(policy, torch.ones(DECODED_ROWS), DECODED_ROWS) / forward
    speed = Speed(forward, decode_s=max(0.0, (longer - shorter) / (DECODED_TOKENS - 1) - in_a_pass))
    if not optimizers:
        return speed
    twin, nothing = policy.learner(), Optimizer([])

    def train(rows: Rows) -> None:
        twin.model.zero_grad()
        next_token_step(twin, nothing, rows, update)

    train(rows_of(policy, ids, FIRST_TOKENS))  # makes room for gradients
    training = training_cost(policy, rows, rows.expert)["flops"] / watch.fastest(partial(train, rows))
    steps = {kind: optimizer_seconds(watch, twin, kind) for kind in dict.fromkeys(optimizers)}
    state, size = dict[str, Tensor](), 0
    for name, value in twin.learnt.state_dict().items():
        if size < SAVED_BYTES:
            state[name], size = value, size + value.nbytes
    return replace(
        speed, training=training, passes=2 + twin.learning_share, optimizer_s=steps,
        saving=size / watch.fastest(partial(to_bytes, state)),
    )  # fmt: skip


def optimizer_seconds(watch: Stopwatch, twin: Policy, kind: str) -> float:
    """Seconds of an optimiser's step: one on the first layer, times the layers, by the numbers that it moves."""
    learning = {name: p for name, p in twin.model.named_parameters() if p.requires_grad}
    inside = {id(p) for p in layer_matrices(twin.model)}
    whole = [p for p in learning.values() if kind != "muon" or id(p) in inside]
    for name, parameter in learning.items():
        parameter.requires_grad_(FIRST_LAYER in name)
    part = [p for p in whole if p.requires_grad] or [p.requires_grad_() for p in whole]
    optimizer = make_optimizer(twin.model, kind, 0.0)
    watch.once(optimizer.step)  # makes its moments
    seconds = watch.fastest(optimizer.step) * sum(p.numel() for p in whole) / sum(p.numel() for p in part)
    for parameter in learning.values():
        parameter.requires_grad_()
    return seconds


def rows_of(policy: Policy, ids: Sequence[int], tokens: int) -> Rows:
    """About `tokens` tokens of this text as expert rows, over again where it is shorter; no two rows begin alike."""
    builders, row = [], min(tokens, ROW_TOKENS)
    for n in range(max(1, tokens // row)):
        builder = RowBuilder.start(n, [policy.end_id])
        builder.force([ids[(n * row + t) % len(ids)] for t in range(row - 1)], 0, [0.0] * (row - 1))
        builders.append(builder)
    return build(builders)
