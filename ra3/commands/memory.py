"""How much memory a command needs: worked out before every run, and one that cannot fit is refused.

A run holds at its peak

    weights of every copy + gradients + two optimiser moments        4 bytes a number, whatever the passes compute in
    + with L lanes on W ranks, 1 + log2 (L / W) gradients more: the subtrees that are added up, and the sum
    of which a rank has its share where they are sharded, and then the weights that are gathered to sample
    + in bfloat16 2 bytes a number for the weights as the passes take them
    + on a CPU weights and moments again, as they are saved (what a pass has held is not given back by then); with an
      adapter, the model that it makes
    + the larger of
        training:   activations of one pass, about 16 D + 4 I numbers a token and layer (width D, inner width I);
                    with checkpoint_activations D a token and layer, and one layer's; and the logits held at once
        rollouts:   keys and values of an update's rows that are decoded at once, and the logits of their next tokens
    or, of what annotates and is measured on text: weights + the same for as many rows as are ever decoded at once

A pass holds a micro-batch, or an update where that is less. Rows count as long as their text, or as the program they
may write; latents and prompts come on top.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, pstdev

import torch

from ra3 import ranks
from ra3.config.settings import Config, MidtrainSettings
from ra3.errors import UserError
from ra3.model.policy import HEAD_CHUNK_LOGITS, Policy
from ra3.model.update import MAX_PASS_TOKENS_ON_CPU
from ra3.rollout.decoding import MAX_RUNNING_ROWS

COPIES = {"midtrain": 3, "demo": 3, "rlvr": 2, "eval": 1, "annotate": 1}
"""Models held at once: pi, q and the one returned; with an adapter one, and when it is saved the one that it makes."""
BESIDE = ("prorl", "latro", "subnetwork", "nlpo")
"""Methods of RLVR that keep one more."""
FROZEN = ("eval", "annotate")
"""Commands that train nothing."""
LIBRARIES = 0.35 * 2**30
"""Resident size of a process that has imported everything."""
LOGITS_HELD = 4
"""Tensors as large as the logits of a part of a pass: themselves, log-probabilities, entropy's, their gradient."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of each part, and of the machine."""

    libraries: float
    weights: float
    gradients: float
    moments: float
    activations: float
    logits: float
    rollouts: float
    sampling: float
    saving: float
    pass_tokens: int
    machine: float

    @property
    def fixed(self) -> float:
        """What no batch geometry changes."""
        return self.libraries + self.weights + self.gradients + self.moments + self.saving

    @property
    def training_peak(self) -> float:
        """The most that is held while the model learns."""
        return self.fixed + self.activations + self.logits

    @property
    def sampling_peak(self) -> float:
        """The most that is held while the model writes, and nothing learns."""
        return self.libraries + self.weights + self.sampling

    @property
    def peak(self) -> float:
        """The most that is held at once."""
        return max(self.training_peak, self.fixed + self.rollouts, self.sampling_peak)

    def text(self) -> str:
        """In one line."""
        parts = {
            "weights": self.weights, "gradients": self.gradients, "moments": self.moments,
            f"activations of {self.pass_tokens:,} tokens": self.activations, "logits": self.logits,
            "or rollouts": self.rollouts, "saving": self.saving, "libraries": self.libraries,
            "or weights and sampling": self.sampling,
        }  # fmt: skip
        listed = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items() if size)
        return f"about {self.peak / 2**30:.1f} of {self.machine / 2**30:.1f} GiB at the peak: {listed}"


def memory_plan(policy: Policy, config: Config, command: str, lengths: Sequence[int] = ()) -> MemoryPlan:
    """The plan of a command whose rows have so many tokens each; without `lengths`, as many as the settings allow."""
    copy, trained, on_cpu = 4.0 * policy.num_parameters, command not in FROZEN, policy.device.type == "cpu"
    own = {"rlvr": config.rlvr.max_new_tokens, "eval": config.eval.max_new_tokens}
    longest = max(lengths, default=own.get(command, config.corpus.max_tokens))
    most_rows, estep = MAX_RUNNING_ROWS[policy.device.type], config.midtrain.estep
    rollouts = {"rlvr": config.rlvr.batch_problems * config.rlvr.samples, "eval": 0, "annotate": 0}
    rows = min(most_rows, rollouts.get(command, estep.documents * estep.group_size))
    most = MAX_PASS_TOKENS_ON_CPU if on_cpu else sys.maxsize
    update = update_tokens(config.midtrain, lengths) if lengths else sys.maxsize
    pass_tokens = max(min(config.update.micro_batch_tokens, most, update), longest)
    text, vocabulary = policy.model.config.get_text_config(), policy.vocabulary
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    held = 2 * longest * text.num_hidden_layers * heads * size * policy.dtype.itemsize
    decoded_row = held + 4.0 * LOGITS_HELD * vocabulary
    numbers = policy.lora.num_parameters(policy.model) if policy.lora else policy.num_parameters
    learning, cast = 4.0 * numbers * trained, copy / 2 * (policy.dtype == torch.bfloat16)
    copies = COPIES[command] + (command == "rlvr" and config.rlvr.method in BESIDE)
    lanes, share = config.run.lanes, 1 / ranks.count() if policy.is_sharded else 1.0  # beside it, what is gathered
    return MemoryPlan(
        libraries=LIBRARIES if on_cpu else 0.0,
        weights=(copy + learning if policy.lora else copy * copies) * share + cast + copy * (share < 1),
        gradients=learning * share * (1 if lanes == 1 else 2 + math.log2(lanes / ranks.count())),
        moments=2 * learning * share,
        activations=activations(policy, pass_tokens, config.update.checkpoint_activations) * trained,
        logits=4.0 * LOGITS_HELD * max(HEAD_CHUNK_LOGITS, vocabulary),
        rollouts=rows * decoded_row,
        sampling=(rows if command == "rlvr" else most_rows) * decoded_row,
        saving=max(copy * trained if policy.lora else 0.0, (copy * trained if share < 1 else 3 * learning) * on_cpu),
        pass_tokens=pass_tokens,
        machine=machine_bytes(policy.device) / (ranks.local_count() if on_cpu else 1),
    )


def update_tokens(settings: MidtrainSettings, lengths: Sequence[int]) -> int:
    """Tokens of the largest update of rows like these: two standard deviations above the mean."""
    rows = max(settings.mstep.batch_documents, settings.estep.documents * settings.estep.group_size)
    return math.ceil(rows * mean(lengths) + 2 * math.sqrt(rows) * pstdev(lengths))


def activations(policy: Policy, tokens: int, checkpointing: bool) -> float:
    """Bytes that a forward pass over `tokens` keeps for its backward pass."""
    text = policy.model.config.get_text_config()
    layer = 16 * text.hidden_size + 4 * (getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
    kept = text.num_hidden_layers * text.hidden_size + layer if checkpointing else text.num_hidden_layers * layer
    return tokens * kept * (2.0 if policy.dtype == torch.bfloat16 else 4.0)


def refuse_too_large(plan: MemoryPlan, config: Config) -> None:
    """UserError, with what helps most, if the plan cannot fit in the machine."""
    if plan.peak <= plan.machine:
        return
    if plan.fixed > plan.machine:
        fix = "take a smaller model, or a machine with more memory"
    elif max(plan.fixed + plan.rollouts, plan.sampling_peak) > plan.training_peak:
        shorter = "lower corpus.max_tokens, rlvr.max_new_tokens or eval.max_new_tokens"
        fix = f"sample shorter rows, or fewer: {shorter}; or rlvr.batch_problems or samples"
    elif not config.update.checkpoint_activations:
        fix = "set update.checkpoint_activations to true, or lower update.micro_batch_tokens"
    else:
        fix = "lower update.micro_batch_tokens, and corpus.max_tokens below it"
    where = f"update.micro_batch_tokens = {config.update.micro_batch_tokens}"
    raise UserError(f"this run does not fit in memory: {plan.text()}", where=where, fix=fix)


def machine_bytes(device: torch.device) -> float:
    """Memory of the GPU, or of this machine, or of the container if that has less."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    for limit in map(Path, CGROUP_LIMITS):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            found.append(float(text))
    return min(found)
