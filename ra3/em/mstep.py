"""M-step: next-token prediction on expert text with its latents written in. With no latents it is plain NTP.

    L = - (1 / N) sum over latent and expert tokens of log pi(x_t | x_<t)          (tokens of the context carry no loss)

Reported beside it, because only they compare with NTP: the cross-entropy of expert tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ra3.config.settings import MstepSettings, UpdateSettings
from ra3.data.order import permutation
from ra3.model.nonfinite import bad_rows_kept
from ra3.model.optimizers import Optimizer, make_optimizer, warmup_cosine
from ra3.model.policy import Policy
from ra3.model.update import Picked, fit
from ra3.rl.credit import at_tokens
from ra3.rl.losses import next_token_loss
from ra3.rows import CONTEXT, Rows
from ra3.run.recorder import Recorder
from ra3.seeds import derive


@dataclass(frozen=True)
class MStepJob:
    """What an M-step trains on."""

    rows: Rows
    config: MstepSettings
    update: UpdateSettings
    seed: int
    em_round: int = 0
    names: Sequence[str] = ()
    """The document of every row."""

    def batches(self) -> list[list[int]]:
        """Rows of every update: whole passes in a fresh order each, until the epochs or the tokens are used up."""
        lengths = trained_tokens(self.rows).sum(1).tolist()
        budget = self.config.tokens or sum(lengths) * self.config.epochs
        seed = derive(self.seed, "mstep", self.em_round)
        size, batches, epoch = self.config.batch_documents, [], 0
        while budget > 0:
            order = permutation(len(self.rows), seed, epoch)
            for start in range(0, len(order), size):
                if budget <= 0:
                    break
                batches.append(order[start : start + size])
                budget -= sum(lengths[i] for i in batches[-1])
            epoch += 1
        return batches


def leave_out(rows: Rows, share: float, seed: int) -> Rows:
    """The rows with each intention left out with probability `share`."""
    generator = torch.Generator().manual_seed(seed)
    dropped = torch.rand(len(rows), rows.num_steps, generator=generator) < share
    kept = rows.valid & ~(rows.latent & (at_tokens(dropped, rows.seg) > 0))
    order = torch.argsort(~kept, dim=1, stable=True)
    moved = {f.name: x.gather(1, order) for f in fields(rows) if (x := getattr(rows, f.name)).dim() == 2}
    return replace(rows, length=kept.sum(1), **moved)


def trained_tokens(rows: Rows) -> Tensor:
    """[B,T] bool, tokens that carry the next-token loss: expert and latent ones."""
    return rows.valid & (rows.seg != CONTEXT)


def mstep(recorder: Recorder, policy: Policy, job: MStepJob) -> Policy:
    """Trains `policy` in place on the rows and returns it."""
    optimizer = make_optimizer(policy.model, job.config.optimizer, job.config.learning_rate, job.config.weight_decay)
    batches = job.batches()
    for step in recorder.loop(f"mstep-{job.em_round}", len(batches), policy=policy.model, optimizer=optimizer):
        factor = warmup_cosine((step + 1) / len(batches), job.config.warmup)
        optimizer.scale(factor)
        rows, names = job.rows.select(torch.tensor(batches[step])), [job.names[i] for i in batches[step]]
        with bad_rows_kept(recorder.run, {"stage": "mstep", "round": job.em_round, "step": step}, policy, names):
            numbers = next_token_step(policy, optimizer, rows, job.update)
        numbers["learning_rate"] = job.config.learning_rate * factor
        recorder.log("mstep", job.em_round, step, len(batches), numbers)
    return policy


def next_token_step(policy: Policy, optimizer: Optimizer, rows: Rows, update: UpdateSettings) -> dict[str, float]:
    """One update of next-token prediction on `rows`. Rows without a token to train on leave everything as it was."""
    trained = trained_tokens(rows)
    count = trained.sum()
    if not count:
        return {"nll_total": 0.0, "grad_norm": 0.0, "expert_nll": 0.0, "tokens_trained": 0.0}

    def loss_fn(picked: Picked) -> Tensor:
        return next_token_loss(picked.scores.logp, torch.full_like(picked.scores.logp, 1 / float(count)))

    rows = plain(rows)
    scores, numbers = fit(policy, optimizer, rows, trained, loss_fn, update)
    return {
        "nll_total": numbers["loss"],
        "grad_norm": numbers["grad_norm"],
        "expert_nll": -float(scores.logp[rows.expert].mean()),
        "tokens_trained": float(count),
    }


def plain(rows: Rows) -> Rows:
    """The rows as text to imitate: nothing in them counts as chosen."""
    return replace(rows, act=torch.zeros_like(rows.act))
