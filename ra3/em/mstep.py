"""M-step: next-token prediction on expert text with its latents written in. With no latents it is plain NTP.

    L = - (1 / N) sum over latent and expert tokens of log pi(x_t | x_<t)          (tokens of the context carry no loss)

Lines of branches may be learned by self-distillation instead, and then documents and branches have a mean of each.
Reported beside it, because only they compare with NTP: the cross-entropy of expert tokens alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from ra3.config.settings import MstepSettings, UpdateSettings
from ra3.em.self_distillation import WEIGHT, SaidWithoutComments, is_branch
from ra3.model.action_spaces import TokenScores
from ra3.model.policy import Policy
from ra3.model.update import ForwardTokens, Optimizer, fit, make_optimizer, scoring_cost, training_cost, warmup_cosine
from ra3.rl.credit import at_tokens
from ra3.rl.loop import nonfinite_explained
from ra3.rl.losses import next_token_loss
from ra3.rows import CONTEXT, Rows
from ra3.run.recorder import Recorder
from ra3.seeds import derive, permutation

WARMUP = 0.05
"""Share of the updates over which the step size rises to its peak."""


def mstep(
    recorder: Recorder, policy: Policy, rows: Rows, names: Sequence[str], settings: MstepSettings,
    update: UpdateSettings, seed: int, em_round: int = 0, distil: bool = False,
) -> Policy:  # fmt: skip
    """Trains `policy` in place on the rows, whose documents are called `names`, and returns it. `distil`: the lines of
    branches are not imitated, but learned from what it says of them without a comment."""
    optimizer = make_optimizer(policy.model, settings.optimizer, settings.learning_rate, settings.weight_decay)
    batches = mstep_batches(rows, settings, derive(seed, "mstep", em_round))
    for step in recorder.loop(f"mstep-{em_round}", len(batches), policy=policy.learnt, optimizer=optimizer):
        factor = warmup_cosine((step + 1) / len(batches), WARMUP)
        optimizer.scale(factor)
        own, place = rows.select(batches[step]), {"stage": "mstep", "round": em_round, "step": step}
        own_names = [names[int(i)] for i in own.group]
        cost = training_cost(policy, own, trained_tokens(own))
        with recorder.phase("training", **cost), nonfinite_explained(recorder, place, policy, own_names):
            if distil:
                documents = own.select(~is_branch(own))
                recorder.count(**scoring_cost(policy, documents, documents.expert))
            numbers = next_token_step(policy, optimizer, own, update, distil)
        numbers["learning_rate"] = settings.learning_rate * factor
        recorder.log("mstep", em_round, step, len(batches), numbers)
    return policy


def mstep_batches(rows: Rows, settings: MstepSettings, seed: int) -> list[list[int]]:
    """The rows of every update, those of a document together: whole passes in a fresh order each, until the epochs or
    the tokens are used up."""
    lengths, members = trained_tokens(rows).sum(1).tolist(), defaultdict(list)
    for row, document in enumerate(rows.group.tolist()):
        members[document].append(row)
    budget, documents = settings.tokens or sum(lengths) * settings.epochs, list(members.values())
    size, batches, epoch = settings.batch_documents, [], 0
    while budget > 0:
        order = permutation(len(documents), seed, epoch)
        for start in range(0, len(order), size):
            if budget <= 0:
                break
            batches.append([row for i in order[start : start + size] for row in documents[i]])
            budget -= sum(lengths[i] for i in batches[-1])
        epoch += 1
    return batches


def next_token_step(
    policy: Policy, optimizer: Optimizer, rows: Rows, update: UpdateSettings, distil: bool = False
) -> dict[str, float]:
    """Takes one step of next-token prediction on `rows`. Without a token to train on everything stays as it was."""
    trained = trained_tokens(rows)
    count = float(trained.sum())
    if not count:
        return {"nll_total": 0.0, "grad_norm": 0.0, "expert_nll": 0.0, "tokens_trained": 0.0}
    said = SaidWithoutComments.of(policy, rows, update.micro_batch_tokens) if distil else None
    means = mean_of_each(trained, is_branch(rows)).to(policy.device) if said else trained

    def loss_fn(scores: TokenScores, tokens: ForwardTokens) -> Tensor:
        if not said:
            weight = torch.full_like(scores.logp, 1 / count)
            return next_token_loss(scores.logp, weight)
        weight, lines = tokens.at(means).to(scores.logp.dtype), tokens.at(said.lines)
        return next_token_loss(scores.logp, weight * ~lines) + WEIGHT * said.cross_entropy(policy, tokens, weight)

    scores, numbers = fit(policy, optimizer, as_text_only(rows), trained, loss_fn, update)
    return {
        "nll_total": numbers["loss"],
        "grad_norm": numbers["grad_norm"],
        "expert_nll": -float(scores.logp[rows.expert].mean()),
        "tokens_trained": count,
    }


def trained_tokens(rows: Rows) -> Tensor:
    """[B,T] bool, tokens that carry the next-token loss: expert and latent ones."""
    return rows.valid & (rows.step != CONTEXT)


def mean_of_each(trained: Tensor, is_branch: Tensor) -> Tensor:
    """[B,T] float64 weights of the tokens in `trained` [B,T]: 1 / N where documents have N of them, 1 / M in branches.

    Branches have some four times as many; in one mean with them documents would hardly be learned.
    """
    kinds = (trained & own[:, None] for own in (~is_branch, is_branch))
    return sum((own.double() / own.sum().clamp_min(1) for own in kinds), torch.zeros(()))


def as_text_only(rows: Rows) -> Rows:
    """The rows as text to imitate: nothing in them counts as chosen."""
    return replace(rows, action_mask=torch.zeros_like(rows.action_mask))


def drop_latents(rows: Rows, share: float, seed: int) -> Rows:
    """The rows with each latent left out with probability `share`, but for branches: their documents have none."""
    generator = torch.Generator().manual_seed(seed)
    dropped = torch.rand(len(rows), rows.num_steps, generator=generator) < share
    dropped &= ~is_branch(rows)[:, None]
    kept = rows.valid & ~(rows.latent & (at_tokens(dropped, rows.step) > 0))
    order = torch.argsort(~kept, dim=1, stable=True)
    moved = {f.name: x.gather(1, order) for f in fields(rows) if (x := getattr(rows, f.name)).dim() == 2}
    return replace(rows, length=kept.sum(1), **moved)
