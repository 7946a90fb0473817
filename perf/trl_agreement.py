"""ra3's advantages, policy losses and gradients against TRL's on the same tokens: `python perf/trl_agreement.py`.

TRL's own trainer takes one step: it samples, scores and normalises; then its loss and its gradient are compared with
those of `ra3.rl.loop.policy_step` on the same programs and rewards, as sampled and with old log-probabilities that
differ by noise. Gradients are compared by norm, relatively. Needs the extra `bench`. Exits with 1 if
anything differs by more than 1e-6 that is not listed as deliberate.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from random_models import save_config
from torch import Tensor
from transformers import PrinterCallback, logging
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # pyright: ignore[reportMissingImports]

from ra3.config.settings import UpdateSettings
from ra3.model.policy import Policy
from ra3.model.update import make_optimizer, score
from ra3.rl.advantages import group_mean, group_std, leave_one_out
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import AGGREGATIONS, POLICY_LOSSES
from ra3.rows import FULL, RowBuilder, Rows, build

G, PROMPTS, MAX_NEW, LOW, HIGH, TOLERANCE = 4, 4, 12, 0.2, 0.28, 1e-6
PROMPT_TEXTS = ["def f(x):\n", "return x\n", "    y = []\n", "x\n"]


@dataclass(frozen=True)
class Pair:
    """One method in TRL and in ra3."""

    name: str
    trainer: type
    trl: dict[str, Any]
    advantage: Any
    loss: str
    aggregation: str
    scale: float = 1.0
    """What ra3's loss is multiplied with: a constant that only one of the two divides by."""


PAIRS = (
    Pair("GRPO", GRPOTrainer, {"loss_type": "grpo"}, partial(group_std, epsilon=1e-4), "clip", "sequence_mean"),
    Pair("Dr. GRPO", GRPOTrainer, {"loss_type": "dr_grpo", "scale_rewards": "none"}, group_mean, "clip", "constant"),
    Pair("DAPO", GRPOTrainer, {"loss_type": "dapo"}, partial(group_std, epsilon=1e-4), "clip", "token_mean"),
    Pair("CISPO", GRPOTrainer, {"loss_type": "cispo"}, partial(group_std, epsilon=1e-4), "cispo", "token_mean"),
    Pair("RLOO", RLOOTrainer, {"beta": 0.0}, leave_one_out, "clip", "constant", scale=MAX_NEW),
)

DELIBERATE = {"RLOO": ("on-policy loss", "off-policy loss", "off-policy gradient")}
"""TRL's RLOO has one ratio for a whole program, ra3 one for each token: the gradient is the same where both are 1."""


def make_policy(folder: Path) -> Policy:
    """A random two-layer Llama with the embedded world's tokenizer, its weights on disk."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    save_config("llama", sizes | {"num_key_value_heads": 2, "tie_word_embeddings": False}, folder)
    policy = Policy.load(folder, "random", torch.float32, torch.device("cpu"), seed=0)
    policy.model.lm_head.weight.data[policy.end_id] *= 20  # programs of unequal length
    policy.save(folder)
    return policy


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Something that differs within groups."""
    return [sum(ids) % 7 / 7 for ids in completion_ids]


def rows_of(inputs: dict[str, Tensor], old: Tensor) -> Rows:
    """TRL's batch as rows, `old` [B,C] being the old log-probabilities of the completions."""
    builders = []
    for b in range(len(inputs["prompt_ids"])):
        prompt, done = inputs["prompt_mask"][b].bool(), inputs["completion_mask"][b].bool()
        builder = RowBuilder.start(b // G, inputs["prompt_ids"][b][prompt].tolist())
        for token, logp in zip(inputs["completion_ids"][b][done].tolist(), old[b][done].tolist(), strict=True):
            builder.append(token, 0, FULL, logp, logp)
        builders.append(builder)
    return build(builders)


def ours(policy: Policy, pair: Pair, rows: Rows, advantage: Tensor) -> tuple[float, Tensor]:
    """ra3's loss and gradient."""
    twin = policy.snapshot()
    optimizer = make_optimizer(twin.model, "adamw", 0.0)
    loss = PolicyLoss(POLICY_LOSSES[pair.loss], LOW, HIGH, 1.0, AGGREGATIONS[pair.aggregation], MAX_NEW)
    update = UpdateSettings(max_grad_norm=float("inf"), micro_batch_tokens=64)
    numbers = policy_step(twin, optimizer, rows, advantage[:, None] * rows.action_mask, loss, update)
    return pair.scale * numbers["loss"], pair.scale * _flat([p.grad for p in twin.model.parameters()])


def theirs(loss: Tensor, model: torch.nn.Module) -> tuple[float, Tensor]:
    """TRL's."""
    return float(loss.detach()), _flat(torch.autograd.grad(loss, list(model.parameters())))


def _flat(gradients: Any) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])


def recording(pair: Pair, policy: Policy, found: list[dict[str, float]]) -> type:
    """The trainer, which compares every loss it computes before it goes on."""

    class Recording(pair.trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss_fn = super()._compute_loss
            found.append(compare(pair, policy, model, inputs, loss_fn))
            return loss_fn(model, inputs)

    return Recording


def by_prompt(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """TRL's batch with the rows of each group together again."""
    order = torch.tensor(sorted(range(G * PROMPTS), key=lambda b: inputs["prompt_ids"][b].tolist()))
    return {k: v[order] if isinstance(v, Tensor) and v.shape[:1] == order.shape else v for k, v in inputs.items()}


def compare(pair: Pair, policy: Policy, model: Any, inputs: dict[str, Tensor], loss_fn: Any) -> dict[str, float]:
    """Largest differences of advantages, losses and gradients."""
    inputs = by_prompt(inputs)
    mask = inputs["completion_mask"]
    completions = [ids[m.bool()].tolist() for ids, m in zip(inputs["completion_ids"], mask, strict=True)]
    returns = torch.tensor(reward(completions)).unflatten(0, (-1, G))
    advantage = pair.advantage(returns, torch.ones_like(returns, dtype=torch.bool)).flatten()
    result = {"advantage": float((advantage - inputs["advantages"]).abs().max())}
    rows = rows_of(inputs, torch.zeros_like(mask, dtype=torch.float32))
    current = score_completions(policy, rows, mask)
    noise = torch.randn(current.shape, generator=torch.Generator().manual_seed(0)) * 0.3
    for name, old in (("on-policy", current), ("off-policy", current + noise)):
        moved = {"old_per_token_logps": old, "old_logps": (old * mask).sum(1)} if name == "off-policy" else {}
        loss, gradient = theirs(loss_fn(model, inputs | moved), model)
        own_loss, own_gradient = ours(policy, pair, rows_of(inputs, old), advantage)
        difference = (gradient - own_gradient).norm() / gradient.norm()
        result |= {f"{name} loss": abs(loss - own_loss), f"{name} gradient": float(difference)}
    return result


def score_completions(policy: Policy, rows: Rows, mask: Tensor) -> Tensor:
    """[B,C] log-probabilities of the completions' tokens."""
    scores = score(policy, rows, rows.action_mask, 10_000).logp
    out = torch.zeros(mask.shape)
    out[mask.bool()] = scores[rows.action_mask]
    return out


def run(pair: Pair, folder: Path, policy: Policy) -> dict[str, float]:
    """One step of TRL's trainer, compared."""
    config_type = RLOOConfig if pair.trainer is RLOOTrainer else GRPOConfig
    high = 1 + HIGH if pair.loss == "cispo" else HIGH
    config = config_type(
        output_dir=str(folder / "trl"), use_cpu=True, bf16=False, max_steps=1, learning_rate=0.0, report_to="none",
        per_device_train_batch_size=G * PROMPTS, num_generations=G, max_completion_length=MAX_NEW, epsilon=LOW,
        epsilon_high=high, save_strategy="no", disable_tqdm=True, gradient_checkpointing=False, seed=1,
        logging_strategy="no", log_level="error", **pair.trl,
    )  # fmt: skip
    found: list[dict[str, float]] = []
    trainer = recording(pair, policy, found)(
        model=str(folder), args=config, reward_funcs=reward, train_dataset=Dataset.from_dict({"prompt": PROMPT_TEXTS})
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    (result,) = found
    return result


def main() -> int:
    """Prints the table; 1 if something differs that should not."""
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        policy = make_policy(Path(name))
        results = {pair.name: run(pair, Path(name), policy) for pair in PAIRS}
    columns = list(next(iter(results.values())))
    print(f"| largest difference | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for method, result in results.items():
        print(f"| {method} | {' | '.join(f'{result[column]:.1e}' for column in columns)} |")
    unexpected = [
        (method, column)
        for method, result in results.items()
        for column in columns
        if result[column] > TOLERANCE and column not in DELIBERATE.get(method, ())
    ]
    print(f"beyond {TOLERANCE}, and not by choice: {unexpected or 'nothing'}")
    return int(bool(unexpected))


if __name__ == "__main__":
    sys.exit(main())
