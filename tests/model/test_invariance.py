"""A step's result does not depend on how its rows are batched: micro-batches, packing, padding, order, ranks.

For every act (E-step, RLVR, M-step), policy loss and aggregation: to 1e-6 in float32 and to 1e-12 in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
import torch
from conftest import make_policy
from processes import on_two_ranks
from torch.nn.functional import pad

from ra3.config.settings import EstepSettings, UpdateSettings
from ra3.em.mstep import next_token_step, trained_tokens
from ra3.model.action_spaces import token_scores
from ra3.model.update import Optimizer, score
from ra3.rl.advantages import leave_one_out
from ra3.rl.credit import estep_credit
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import AGGREGATIONS, POLICY_LOSSES, clipped_policy_loss
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import LatentRules, interleave
from ra3.rows import Rows

G, TEMPERATURE, MAX_NEW = 2, 0.7, 8
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
RLVR = [f"{loss} {aggregation}" for loss in POLICY_LOSSES for aggregation in AGGREGATIONS]
ACTS = ["E-step", "M-step", *RLVR]
each_act = pytest.mark.parametrize("act", ACTS)


@dataclass(frozen=True)
class Batch:
    """Rows of one step and what is to be learnt from them."""

    act: str
    rows: Rows
    advantage: torch.Tensor

    @property
    def loss(self) -> PolicyLoss:
        name, _, aggregation = self.act.partition(" ")
        if self.act in RLVR:
            return PolicyLoss(POLICY_LOSSES[name], 0.2, 0.28, TEMPERATURE, AGGREGATIONS[aggregation], MAX_NEW)
        return PolicyLoss(clipped_policy_loss, 0.2, 0.2)

    def select(self, index) -> Batch:
        return replace(self, rows=self.rows.select(index), advantage=self.advantage[index])

    def padded(self, extra: int) -> Batch:
        grown = {f.name: pad(x, (0, extra)) for f in fields(Rows) if (x := getattr(self.rows, f.name)).dim() == 2}
        grown["step"] = pad(self.rows.step, (0, extra), value=-1)
        return Batch(self.act, replace(self.rows, **grown), pad(self.advantage, (0, extra)))

    def step(self, policy, optimizer, max_tokens: int) -> list[float]:
        update = UpdateSettings(micro_batch_tokens=max_tokens, max_grad_norm=1e3)
        if self.act == "M-step":
            numbers = next_token_step(policy, optimizer, self.rows, update)
            return [numbers["nll_total"], numbers["grad_norm"], numbers["expert_nll"]]
        numbers = policy_step(policy, optimizer, self.rows, self.advantage, self.loss, update)
        return [numbers["loss"], numbers["grad_norm"], numbers["entropy"]]


@dataclass(frozen=True)
class Trajectory:
    """Two steps of gradient descent on the same rows: one on-policy, one with ratios also beyond the clip range.

    (Adam would not do: it scales gradients that are zero but for rounding, as that of a key's bias, to full size.)
    """

    numbers: torch.Tensor
    gradient: torch.Tensor
    """Of the first step."""
    weights: torch.Tensor

    @classmethod
    def of(cls, policy, batch: Batch, max_tokens: int) -> Trajectory:
        twin = policy.snapshot()
        optimizer = Optimizer([torch.optim.SGD(twin.model.parameters(), lr=0.3)])
        numbers = [batch.step(twin, optimizer, max_tokens)]
        gradient = torch.cat([p.grad.flatten().clone() for p in twin.model.parameters()])
        numbers.append(batch.step(twin, optimizer, max_tokens))
        weights = torch.cat([p.detach().flatten() for p in twin.model.parameters()])
        return cls(torch.tensor(numbers, dtype=torch.float64), gradient, weights)

    def differs(self, other: Trajectory) -> float:
        return max(float((getattr(self, f.name) - getattr(other, f.name)).abs().max()) for f in fields(self))


@pytest.fixture(scope="module")
def policies(policy, tmp_path_factory):
    """A float32 policy, and a float64 one whose architecture computes all of itself in float64."""
    double = make_policy(tmp_path_factory.mktemp("gpt2"), "gpt2", n_embd=32, n_layer=2, n_head=2)
    double.model.double()
    return {"float32": policy, "float64": double}


@pytest.fixture(scope="module")
def batches(policies, documents):
    """{(number format, act): Batch}, eight rows each."""
    found = {}
    documents = [replace(d, step_ids=d.step_ids[:4], openings=d.openings[:4], cut=True) for d in documents[:4]]
    for kind, policy in policies.items():
        rows = interleave(policy, documents, G, LatentRules(4, think_floor=0.4), list(range(len(documents) * G)))
        config = EstepSettings(group_size=G, comment_baseline="all")
        credit = estep_credit(rows, policy.spaces, score(policy, rows, rows.expert, 10_000), config, 0.1)
        found[kind, "E-step"] = Batch("E-step", rows, credit.advantage)
        found[kind, "M-step"] = Batch("M-step", rows, credit.advantage)
        prompts = [list(d.context_ids)[: 10 + 5 * i] for i, d in enumerate(documents)]
        rules, stops = SamplingParams(MAX_NEW, TEMPERATURE), [("\n",)] * len(prompts)
        programs = generate(policy, prompts, G, rules, list(range(len(prompts) * G)), stops=stops)
        reward = torch.linspace(0, 5, len(programs)).frac().unflatten(0, (-1, G))
        advantage = (
            leave_one_out(reward, torch.ones_like(reward, dtype=torch.bool)).flatten()[:, None] * programs.action_mask
        )
        found |= {(kind, act): Batch(act, programs, advantage) for act in RLVR}
    return found


@pytest.fixture(scope="module")
def references(policies, batches):
    """Every trajectory in one micro-batch."""
    return {key: Trajectory.of(policies[key[0]], batch, 10**6) for key, batch in batches.items()}


VARIANTS = {
    "one bin at a time": lambda b: (b, 1),
    "small micro-batches": lambda b: (b, 200),
    "reversed": lambda b: (b.select(torch.arange(len(b.rows)).flip(0)), 200),
    "shuffled": lambda b: (b.select(torch.randperm(len(b.rows), generator=torch.Generator().manual_seed(0))), 10**6),
    "padded": lambda b: (b.padded(37), 150),
}


@each_act
@pytest.mark.parametrize("kind", TOLERANCE)
def test_batching_padding_and_order_change_nothing(policies, batches, references, kind, act):
    for name, variant in VARIANTS.items():
        batch, max_tokens = variant(batches[kind, act])
        ours = Trajectory.of(policies[kind], batch, max_tokens)
        assert ours.differs(references[kind, act]) < TOLERANCE[kind], name


def alone(policy, batch: Batch) -> torch.Tensor:
    """The first step's gradient by the definitions, each row by itself through the model's own forward pass."""
    twin, rows, loss, total = policy.snapshot(), batch.rows, batch.loss, 0.0
    wanted = trained_tokens(rows) if batch.act == "M-step" else rows.action_mask
    share = {
        "token_mean": lambda r: 1 / int(wanted.sum()),
        "sequence_mean": lambda r: 1 / (len(rows) * int(wanted[r].sum())),
        "constant": lambda r: 1 / (len(rows) * MAX_NEW),
    }[loss.aggregation.__name__]
    for r in range(len(rows)):
        n = int(rows.length[r])
        logits = twin.model(rows.ids[None, r, :n]).logits[0, :-1]
        ids, space, act, old, advantage = (
            x[r, 1:n] for x in (rows.ids, rows.action_space, rows.action_mask, rows.logp_old, batch.advantage)
        )
        scores = token_scores(logits, ids, space, act, twin.spaces, loss.temperature)
        if batch.act == "M-step":
            terms = scores.logp
        elif loss.loss is clipped_policy_loss:
            ratio = (scores.logp_action - old).exp()
            terms = torch.minimum(ratio * advantage, ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high) * advantage)
        else:
            ratio = (scores.logp_action - old).exp().clamp(max=1 + loss.clip_high).detach()
            terms = ratio * advantage * scores.logp_action
        total = total - share(r) * terms[wanted[r, 1:n]].sum()
    total.backward()
    return torch.cat([p.grad.flatten() for p in twin.model.parameters()])


@each_act
@pytest.mark.parametrize("kind", TOLERANCE)
def test_packed_is_each_row_alone(policies, batches, references, kind, act):
    ours = references[kind, act].gradient
    assert (alone(policies[kind], batches[kind, act]) - ours).abs().max() < TOLERANCE[kind]


@pytest.mark.timeout(600)
def test_two_ranks_are_one(tmp_path, policies, batches, references):
    """Two processes with gloo, each with two of four lanes, follow the trajectory of one with four to the last bit, and
    that of one lane but for rounding."""

    def trajectories() -> dict[tuple[str, str], Trajectory]:
        return {(kind, act): Trajectory.of(replace(policies[kind], lanes=4), batch, 150) for (kind, act), batch in own}

    own = list(batches.items())
    first, second = on_two_ranks(tmp_path, trajectories)
    alone = trajectories()
    for (kind, act), reference in references.items():
        assert first[kind, act].differs(second[kind, act]) == 0, (kind, act)
        assert first[kind, act].differs(alone[kind, act]) == 0, (kind, act)
        assert first[kind, act].differs(reference) < TOLERANCE[kind], (kind, act)


@each_act
def test_the_residual_of_float32_has_no_direction(policies, batches, act):
    """What rounding leaves between two ways of batching is noise: along the gradient it averages to zero."""
    residuals = []
    for seed in range(6):
        rows = torch.randperm(8, generator=torch.Generator().manual_seed(seed))[:5]
        batch = batches["float32", act].select(rows)
        one, many = (first_gradient(policies["float32"], batch, tokens) for tokens in (10**6, 1))
        residuals.append((many - one) @ one / one.square().sum())
    found = torch.stack(residuals)
    assert found.abs().max() < 1e-5
    assert abs(found.mean()) < 4 * found.std() / len(found) ** 0.5 + 1e-9


def first_gradient(policy, batch: Batch, max_tokens: int) -> torch.Tensor:
    twin = policy.snapshot()
    batch.step(twin, Optimizer([torch.optim.SGD(twin.model.parameters(), lr=0.0)]), max_tokens)
    return torch.cat([p.grad.flatten() for p in twin.model.parameters()]).double()
