"""What a command holds in memory at its peak, worked out before its first step; what cannot fit is refused.

    weights of every copy + gradients + two optimiser moments        4 bytes a number, whatever the passes compute in
    + the larger of
        training:   activations of one pass, about 16 D + 4 I numbers a token and layer (width D, inner width I);
                    with checkpoint_activations D a token and layer, and one layer's; and the logits held at once
        sampling:   keys and values of all rows that are decoded at once, and the logits of their next tokens

Rows count as long as their text, or as the program they may write; latents and prompts come on top.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ra3.config.settings import Config
from ra3.errors import UserError
from ra3.model.policy import HEAD_CHUNK_LOGITS, Policy
from ra3.model.update import MAX_PASS_TOKENS_ON_CPU
from ra3.rollout.decoding import MAX_RUNNING_ROWS

COPIES = {"midtrain": 3, "demo": 3, "rlvr": 1, "eval": 1, "annotate": 1}
"""Models held at once: pi, q and the one returned."""
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
    sampling: float
    pass_tokens: int
    machine: float

    @property
    def fixed(self) -> float:
        """What no batch geometry changes."""
        return self.libraries + self.weights + self.gradients + self.moments

    @property
    def peak(self) -> float:
        """The most that is held at once."""
        return self.fixed + max(self.activations + self.logits, self.sampling)

    def text(self) -> str:
        """In one line."""
        parts = {
            "weights": self.weights, "gradients": self.gradients, "moments": self.moments,
            f"activations of {self.pass_tokens:,} tokens": self.activations, "logits": self.logits,
            "or sampling": self.sampling, "libraries": self.libraries,
        }  # fmt: skip
        listed = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items() if size)
        return f"about {self.peak / 2**30:.1f} of {self.machine / 2**30:.1f} GiB at the peak: {listed}"


def memory_plan(policy: Policy, config: Config, command: str, longest: int | None = None) -> MemoryPlan:
    """The plan of a command whose longest row has `longest` tokens, or as many as the settings allow."""
    copy = 4.0 * policy.num_parameters
    trained = command not in FROZEN
    if longest is None:
        own = {"rlvr": config.rlvr.max_new_tokens, "eval": config.eval.max_new_tokens}
        longest = own.get(command, config.corpus.max_tokens)
    tokens = _pass_tokens(policy, config, longest)
    return MemoryPlan(
        LIBRARIES if policy.device.type == "cpu" else 0.0,
        copy * COPIES[command],
        copy * trained,
        2 * copy * trained,
        activations(policy, tokens, config.update.checkpoint_activations) * trained,
        4.0 * LOGITS_HELD * max(HEAD_CHUNK_LOGITS, policy.spaces.comment_mask.numel()),
        sampling(policy, rows_at_once(config, command, policy.device), longest),
        tokens,
        machine_bytes(policy.device),
    )


def refuse_too_large(plan: MemoryPlan, config: Config) -> None:
    """UserError, with what helps most, if the plan cannot fit in the machine."""
    if plan.peak <= plan.machine:
        return
    if plan.fixed > plan.machine:
        fix = "take a smaller model, or a machine with more memory"
    elif plan.sampling > plan.activations + plan.logits:
        fix = (
            "sample shorter rows, or fewer: lower corpus.max_tokens, rlvr.max_new_tokens or eval.max_new_tokens; "
            "or rlvr.batch_problems or samples"
        )
    elif not config.update.checkpoint_activations:
        fix = "set update.checkpoint_activations to true, or lower update.micro_batch_tokens"
    else:
        fix = "lower update.micro_batch_tokens, and corpus.max_tokens below it"
    where = f"update.micro_batch_tokens = {config.update.micro_batch_tokens}"
    raise UserError(f"this run does not fit in memory: {plan.text()}", where=where, fix=fix)


def activations(policy: Policy, tokens: int, checkpointing: bool) -> float:
    """Bytes that a forward pass over `tokens` keeps for its backward pass."""
    text = policy.model.config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    layer = 16 * text.hidden_size + 4 * inner
    kept = text.num_hidden_layers * text.hidden_size + layer if checkpointing else text.num_hidden_layers * layer
    return tokens * kept * (2.0 if policy.dtype == torch.bfloat16 else 4.0)


def sampling(policy: Policy, rows: int, tokens: int) -> float:
    """Bytes of keys, values and logits of `rows`."""
    text = policy.model.config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    logits = 4.0 * LOGITS_HELD * policy.spaces.comment_mask.numel()
    return rows * (2 * 4.0 * tokens * text.num_hidden_layers * heads * size + logits)


def rows_at_once(config: Config, command: str, device: torch.device) -> int:
    """Rows that a command decodes together: those of an update of RLVR; elsewhere a corpus, or an exam, has more than
    run at once."""
    rlvr = config.rlvr
    return (
        min(MAX_RUNNING_ROWS[device.type], rlvr.batch_problems * rlvr.samples)
        if command == "rlvr"
        else MAX_RUNNING_ROWS[device.type]
    )


def machine_bytes(device: torch.device) -> float:
    """Memory of the GPU, or of this machine, or of the container if that has less."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    for limit in map(Path, CGROUP_LIMITS):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            found.append(float(text))
    return min(found)


def _pass_tokens(policy: Policy, config: Config, longest: int) -> int:
    limit = config.update.micro_batch_tokens
    return max(min(limit, MAX_PASS_TOKENS_ON_CPU) if policy.device.type == "cpu" else limit, longest)
