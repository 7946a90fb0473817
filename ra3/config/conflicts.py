"""Settings that are each in bounds but contradict each other: one rule per contradiction, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ra3.config.tree import Config


@dataclass(frozen=True)
class Conflict:
    """Example: Conflict(("eval.k", "eval.samples"), "pass@10 needs at least 10 samples, there are 5", "...")."""

    keys: tuple[str, ...]
    """Dotted keys of the settings involved, the one to change first."""
    what: str
    fix: str


class Conflicts(ValueError):
    """Every contradiction of a configuration."""

    def __init__(self, found: list[Conflict]):
        super().__init__("; ".join(f"{conflict.what} ({conflict.fix})" for conflict in found))
        self.found = found


def refuse_conflicts(config: Config) -> None:
    """Raise Conflicts with every contradiction in `config`; return when there is none."""
    found = [conflict for rule in RULES for conflict in rule(config)]
    if found:
        raise Conflicts(found)


def exact_prior(config: Config) -> Iterator[Conflict]:
    """alpha and latent_vocab make the exact prior together, and it takes the place of the switch penalty."""
    estep = config.midtrain.estep
    keys = ("midtrain.estep.alpha", "midtrain.estep.latent_vocab")
    if (estep.alpha is None) != (estep.latent_vocab is None):
        given, missing = keys if estep.latent_vocab is None else reversed(keys)
        yield Conflict((given, missing), f"{given} is set without {missing}", f"set {missing} too, or neither")
    if estep.alpha is None:
        return
    if "switch_penalty" in estep.model_fields_set:
        yield Conflict(
            ("midtrain.estep.switch_penalty", keys[0]),
            "midtrain.estep.switch_penalty and the exact prior (alpha, latent_vocab) both price a switch",
            "leave out switch_penalty, or leave out alpha and latent_vocab",
        )
    if estep.penalty_growth != 1:
        yield Conflict(
            ("midtrain.estep.penalty_growth", keys[0]),
            "midtrain.estep.penalty_growth raises the switch penalty, and the exact prior (alpha) has none",
            "leave out penalty_growth, or leave out alpha and latent_vocab",
        )
    if "iwae" in (estep.advantage, config.midtrain.method):
        yield Conflict(
            (keys[0], "midtrain.estep.advantage" if estep.advantage == "iwae" else "midtrain.method"),
            "the exact prior (alpha) puts log q into the returns, for which the gradient of iwae has no term",
            "leave out alpha and latent_vocab, or choose another advantage and method than iwae",
        )
    if estep.target_think_rate is not None:
        yield Conflict(
            ("midtrain.estep.target_think_rate", keys[0]),
            "midtrain.estep.target_think_rate adapts the switch penalty, and the exact prior (alpha) has none",
            "leave out target_think_rate, or leave out alpha and latent_vocab",
        )


def endless_penalty(config: Config) -> Iterator[Conflict]:
    """An infinite penalty cannot be adapted, nor can thinking be asked for."""
    estep = config.midtrain.estep
    if estep.switch_penalty != float("inf"):
        return
    for name, value in (("target_think_rate", estep.target_think_rate), ("think_floor", estep.think_floor)):
        if value:
            yield Conflict(
                (f"midtrain.estep.{name}", "midtrain.estep.switch_penalty"),
                f"midtrain.estep.{name} asks for thinking, and switch_penalty = inf forbids it",
                f"leave out {name}, or set a finite switch_penalty",
            )


def think_floor(config: Config) -> Iterator[Conflict]:
    """A floor and its duration make sense only together."""
    estep = config.midtrain.estep
    keys = ("midtrain.estep.think_floor", "midtrain.estep.floor_updates")
    if estep.think_floor and not estep.floor_updates:
        yield Conflict(keys, f"{keys[0]} = {estep.think_floor} holds for 0 updates", f"set {keys[1]} to 1 or more")
    if estep.floor_updates and not estep.think_floor:
        yield Conflict(keys[::-1], f"{keys[1]} = {estep.floor_updates} has no floor to hold", f"set {keys[0]} above 0")


def lone_rollouts(config: Config) -> Iterator[Conflict]:
    """One rollout has nothing to be compared with: every estimator but "none" gives it advantage 0."""
    estep, rlvr = config.midtrain.estep, config.rlvr
    for section, size, value, advantage in (
        ("midtrain.estep", "group_size", estep.group_size, estep.advantage),
        ("rlvr", "samples", rlvr.samples, rlvr.advantage),
    ):
        if value == 1 and advantage != "none":
            yield Conflict(
                (f"{section}.{size}", f"{section}.advantage"),
                f"{section}.{size} = 1 leaves {section}.advantage = {advantage} nothing to compare with: no signal",
                f'set {size} to 2 or more, or {section}.advantage = "none"',
            )


def best_of_one(config: Config) -> Iterator[Conflict]:
    """The best of one is a sample."""
    if config.midtrain.mstep.latents != "sample" and config.midtrain.estep.group_size == 1:
        yield Conflict(
            ("midtrain.mstep.latents", "midtrain.estep.group_size"),
            f"midtrain.mstep.latents = {config.midtrain.mstep.latents} chooses among group_size = 1 rollouts",
            'set group_size to 2 or more, or latents = "sample"',
        )


def long_sequences(config: Config) -> Iterator[Conflict]:
    """A sequence is never cut between micro-batches, so the longest must fit into one."""
    room = config.update.micro_batch_tokens
    for key, tokens in (
        ("corpus.max_tokens", config.corpus.max_tokens),
        ("rlvr.max_new_tokens", config.rlvr.max_new_tokens),
    ):
        if tokens > room:
            yield Conflict(
                ("update.micro_batch_tokens", key),
                f"a sequence of {key} = {tokens} tokens does not fit into update.micro_batch_tokens = {room}",
                f"set micro_batch_tokens to {tokens} or more, or {key} to {room} or less",
            )


def more_k_than_samples(config: Config) -> Iterator[Conflict]:
    """pass@k is estimated from n >= k samples."""
    k, samples = max(config.eval.k), config.eval.samples
    if k > samples and config.eval.samples_file is None:
        yield Conflict(
            ("eval.k", "eval.samples"),
            f"pass@{k} needs {k} samples or more, and eval.samples = {samples}",
            f"set eval.samples to {k} or more, or take {k} out of eval.k",
        )


def greedy_samples(config: Config) -> Iterator[Conflict]:
    """Greedy samples of one problem are all the same."""
    if config.eval.temperature == 0 and config.eval.samples > 1 and config.eval.samples_file is None:
        yield Conflict(
            ("eval.samples", "eval.temperature"),
            f"eval.temperature = 0 makes all eval.samples = {config.eval.samples} samples of a problem the same",
            "set eval.samples = 1 and eval.k = 1, or a temperature above 0",
        )


RULES = (
    exact_prior, endless_penalty, think_floor, lone_rollouts, best_of_one, long_sequences, more_k_than_samples,
    greedy_samples,
)  # fmt: skip
