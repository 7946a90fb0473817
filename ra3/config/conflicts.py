"""Settings that are each in bounds but contradict each other, each contradiction with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ra3.config.settings import Config


DECIDED_BY_METHOD = {
    "gspo": ("loss", "clip", "aggregation"),
    "pacs": ("loss", "clip", "aggregation", "advantage"),
    "mdpo": ("loss", "clip"),
    "aipo": ("loss", "clip"),
    "rover": ("loss", "clip", "advantage"),
    "lp_reg": ("loss",),
    "prorl": ("loss",),
    "scale_rl": ("loss", "aggregation", "advantage"),
    "dars": ("advantage",),
    "pass_at_k": ("advantage",),
    "spo": ("advantage",),
    "direct_advantage": ("advantage", "loss", "clip", "aggregation"),
    "tree_po": ("advantage", "refills"),
    "guide": ("advantage", "loss"),
    "critique_grpo": ("advantage", "loss"),
    "sample_replay": ("loss",),
    "supo": ("refills",),
    "archer": ("advantage",),
}
"""Settings of RLVR that a method decides itself."""
NEED_VERDICTS = (
    "pacs", "laser", "mopps", "scale_rl", "dars", "pass_at_k", "spo", "direct_advantage", "tree_po", "rest_grpo",
    "guide", "critique_grpo", "nlpo", "grpo_roc", "zero_search", "ssrl", "supo", "archer",
)  # fmt: skip
NEED_REFERENCES = ("verifree", "rlpr", "latro")
"""Methods of RLVR that have a use for one kind of reward only."""
NOT_SHARDED = {
    "nlpo": "reads with a second model beside the first, which run.shard gathers for itself alone",
    "subnetwork": "masks whole matrices, and run.shard leaves each rank a share of them",
}
"""Methods of RLVR that weights spread over the ranks cannot do, and why."""
NEED_HINTS = ("guide",)
"""Methods of RLVR with the reward from tests whose problems need references, too."""
NEED_TOOLS = {"grpo_roc": "tools", "zero_search": "documents", "ssrl": "documents", "supo": "tools"}
"""What problems need for methods of several turns."""
ONE_TURN = ("spo", "direct_advantage", "tree_po", "rest_grpo", "guide", "critique_grpo", "nlpo")
"""Methods of RLVR that go on from within a program, or write it with help: problems with tools are not theirs."""


class Conflict(NamedTuple):
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


def of_rewards(config: Config) -> Iterator[Conflict]:
    """Prices and baselines of which one makes the other impossible or empty."""
    estep, rlvr, method = config.midtrain.estep, config.rlvr, config.midtrain.method
    prior = "midtrain.estep.exact_prior"
    if estep.exact_prior is not None:  # it takes the place of the switch penalty
        given = ["switch_penalty"] if "switch_penalty" in estep.model_fields_set else []
        for name in given + ["penalty_growth"] * (estep.penalty_growth != 1):
            yield Conflict(
                (f"midtrain.estep.{name}", prior),
                f"midtrain.estep.{name} sets the price of a switch, and so does {prior}",
                f"leave out {name} or exact_prior",
            )
        if "iwae" in (estep.advantage, method):
            yield Conflict(
                (prior, "midtrain.estep.advantage" if estep.advantage == "iwae" else "midtrain.method"),
                "the exact prior puts log q into the returns, for which the gradient of iwae has no term",
                "leave out exact_prior, or choose another advantage and method than iwae",
            )
    if estep.switch_penalty == float("inf") and estep.think_floor:
        yield Conflict(
            ("midtrain.estep.think_floor", "midtrain.estep.switch_penalty"),
            "midtrain.estep.think_floor asks for thinking, and switch_penalty = inf forbids it",
            "leave out think_floor, or set a finite switch_penalty",
        )
    for methods, kind in ((NEED_VERDICTS, "tests"), (NEED_REFERENCES, "likelihood")):
        if rlvr.method in methods and rlvr.reward != kind:
            yield Conflict(
                ("rlvr.reward", "rlvr.method"),
                f"rlvr.method = {rlvr.method} needs the reward from {kind}, and rlvr.reward = {rlvr.reward}",
                f"set rlvr.reward = {kind}, or another method",
            )
    if rlvr.reward == "likelihood" and rlvr.refills:
        yield Conflict(
            ("rlvr.refills", "rlvr.reward"),
            "rlvr.refills replaces groups of equal verdicts, and rlvr.reward = likelihood has none",
            "leave out refills, or set rlvr.reward = tests",
        )
    for name in DECIDED_BY_METHOD.get(rlvr.method, ()):
        if getattr(rlvr, name) != type(rlvr).model_fields[name].default:
            yield Conflict(
                (f"rlvr.{name}", "rlvr.method"),
                f"rlvr.method = {rlvr.method} decides rlvr.{name} itself",
                f"leave out {name}, or choose another method",
            )
    for section, size, value, advantage in (
        ("midtrain.estep", "group_size", estep.group_size, estep.advantage),
        ("rlvr", "samples", rlvr.samples, rlvr.advantage),
    ):
        if value == 1 and advantage != "none":  # every other estimator gives a lone rollout the advantage 0
            yield Conflict(
                (f"{section}.{size}", f"{section}.advantage"),
                f"{section}.{size} = 1 leaves {section}.advantage = {advantage} nothing to compare with: no signal",
                f'set {size} to 2 or more, or {section}.advantage = "none"',
            )
    if method in ("bootstrap", "hindsight", "iwae") and estep.group_size == 1:
        yield Conflict(
            ("midtrain.method", "midtrain.estep.group_size"),
            f"midtrain.method = {method} chooses among midtrain.estep.group_size = 1 rollouts",
            "set group_size to 2 or more, or another method",
        )


def of_shards(config: Config) -> Iterator[Conflict]:
    """What weights that are spread over the ranks cannot do."""
    if config.run.shard and config.midtrain.mstep.optimizer == "muon":
        yield Conflict(
            ("midtrain.mstep.optimizer", "run.shard"),
            "muon works on whole matrices, and run.shard leaves each rank a share of them",
            "set midtrain.mstep.optimizer = adamw, or leave out run.shard",
        )
    if config.run.shard and (why := NOT_SHARDED.get(config.rlvr.method)):
        what = f"rlvr.method = {config.rlvr.method} {why}"
        yield Conflict(("rlvr.method", "run.shard"), what, "choose another method, or leave out run.shard")
    if config.run.shard and config.model.lora.rank:
        yield Conflict(
            ("run.shard", "model.lora.rank"),
            "an adapter and the model below it are not sharded yet",
            "leave out run.shard: with an adapter gradients and optimiser are small",
        )


def of_rollouts(config: Config) -> Iterator[Conflict]:
    """What a sampler other than our own cannot do."""
    if config.run.rollouts != "native" and config.rlvr.method == "nlpo":
        yield Conflict(
            ("run.rollouts", "rlvr.method"),
            "rlvr.method = nlpo draws tokens by two models at once, and vllm by one",
            "set run.rollouts = native, or another method",
        )
    if config.run.rollouts == "vllm-ahead" and config.rlvr.refills:
        yield Conflict(
            ("run.rollouts", "rlvr.refills"),
            "refills are drawn once a step's rewards are known, and run.rollouts = vllm-ahead draws before",
            "set run.rollouts = vllm, or rlvr.refills = 0",
        )


def of_sizes(config: Config) -> Iterator[Conflict]:
    """Lengths and numbers of samples that are too small for what is asked."""
    room, own, k = config.update.micro_batch_tokens, config.eval, max(config.eval.k)
    longest = {"corpus.max_tokens": config.corpus.max_tokens, "rlvr.max_new_tokens": config.rlvr.max_new_tokens}
    for key, tokens in longest.items():
        if tokens > room:  # a sequence is never cut between micro-batches
            yield Conflict(
                ("update.micro_batch_tokens", key),
                f"a sequence of {key} = {tokens} tokens does not fit into update.micro_batch_tokens = {room}",
                f"set micro_batch_tokens to {tokens} or more, or {key} to {room} or less",
            )
    if own.samples_file is not None:
        return
    if k > own.samples:
        yield Conflict(
            ("eval.k", "eval.samples"),
            f"pass@{k} needs {k} samples or more, and eval.samples = {own.samples}",
            f"set eval.samples to {k} or more, or take {k} out of eval.k",
        )
    if own.temperature == 0 and own.samples > 1:
        yield Conflict(
            ("eval.samples", "eval.temperature"),
            f"eval.temperature = 0 makes all eval.samples = {own.samples} samples of a problem the same",
            "set eval.samples = 1 and eval.k = 1, or a temperature above 0",
        )
