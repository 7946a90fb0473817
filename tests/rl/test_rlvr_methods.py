"""Methods of RLVR: each formula by numbers computed by hand and by what it reduces to, and each run and resumed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from method_runs import SETTINGS, plain, rows_of, run, slopes, task, weights, world_of, world_policy
from methods_page import PAGE, methods_page, row

import ra3.rl.methods
from ra3.commands.inputs import load_rl_problems
from ra3.commands.memory import memory_plan
from ra3.config.conflicts import DECIDED_BY_METHOD, NEED_REFERENCES, NEED_VERDICTS, NOT_SHARDED
from ra3.config.settings import Config, RlvrMethod, RlvrSettings, RunSettings, UpdateSettings
from ra3.errors import UserError
from ra3.model.action_spaces import log_probability
from ra3.model.policy import Policy
from ra3.model.update import Optimizer, over_vocabulary, score
from ra3.rl.advantages import group_mean, unequal_group_mean
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import clipped_policy_loss, sequence_mean, token_mean
from ra3.rl.methods import KINDS, METHODS
from ra3.rl.methods.dars import more_programs
from ra3.rl.methods.gspo import gspo_loss
from ra3.rl.methods.lp_reg import log_proxy, rarest
from ra3.rl.methods.mdpo import mdpo_loss
from ra3.rl.methods.pods import most_varied
from ra3.rl.methods.rover import mean_logp, rover_loss
from ra3.rl.methods.sar import perplexity, without_prompt
from ra3.rl.methods.shuffle_r1 import contrasting_pairs, draw_pairs
from ra3.rlvr import task_class
from ra3.rollout.generate import SamplingParams, generate
from ra3.rows import Rows
from ra3.worlds import WORLDS


def test_gspo_is_the_policy_gradient_of_programs_until_it_clips_one():
    rows, advantage = rows_of(2, 4), [1.0, -0.5]
    assert torch.allclose(slopes(gspo_loss, rows, torch.zeros(1), advantage), plain(rows, advantage, sequence_mean))
    out = slopes(gspo_loss, rows, torch.tensor([[0.0, 0.001, -0.0002, 0, 0]]), advantage)
    assert (out[0] == 0).all(), "a ratio of exp(4e-4) is at the bound"
    ratio = math.exp((0.001 - 0.0002) / 4)
    assert out[1, 1:].tolist() == pytest.approx([0.5 * ratio / 4 / 2] * 4)


def test_pacs_predicts_verdicts_by_balanced_cross_entropy():
    """A group of one right and three wrong: c = 2 and 2/3. On policy each slope is that of a weighted leave-one-out."""
    rows, method = rows_of(1, 2, 1, 1, samples=4), task("pacs")
    signed, sizes = torch.tensor([2.0, -2 / 3, -2 / 3, -2 / 3]), torch.tensor([1, 2, 1, 1])
    pull = signed / 2
    expected = -(pull - (pull.sum() - pull) / 3) / 4
    found = slopes(method.label_loss, rows, torch.zeros(1), signed.tolist())
    assert torch.allclose(found, expected[:, None] * rows.action_mask)
    shift = torch.tensor([[0.0, 0.3, 0.3]])
    logp = rows.logp_old + shift * rows.action_mask
    value = method.label_loss(None, logp, rows, signed[:, None] * rows.action_mask, None)
    own = 0.3 * sizes
    psi = own - (own.sum() - own) / 3
    by_hand = -torch.where(signed > 0, psi, -psi).sigmoid().log()
    assert value.item() == pytest.approx(float((signed.abs() * by_hand).mean()), abs=1e-6)


def test_mdpo_pulls_back_in_proportion_to_how_far_it_went():
    rows, advantage = rows_of(2, 4), [1.0, -0.5]
    assert torch.allclose(slopes(mdpo_loss, rows, torch.zeros(1), advantage), plain(rows, advantage))
    away = slopes(mdpo_loss, rows, torch.tensor(0.5), [0.0, 0.0])
    assert away[1, 1:].tolist() == pytest.approx([math.exp(0.5) * 0.5 / 6] * 4)


def test_aipo_cuts_weights_above_four():
    rows, loss = rows_of(1, 1, 1), task("aipo").loss
    logp = (rows.logp_old[:, 1] + torch.tensor([10.0, 3.0, 0.1]).log()).requires_grad_()
    loss.loss(logp, rows.logp_old[:, 1], torch.ones(3), torch.ones(3), loss.clip_low, loss.clip_high).backward()
    assert logp.grad.tolist() == pytest.approx([-4.0, -3.0, -0.1])


def test_lp_reg_lifts_the_rarest_tokens_of_wrong_programs():
    assert rarest(torch.arange(-300.0, 0.0)) == -298.0 and rarest(torch.zeros(150)) == -torch.inf
    logits = torch.tensor([[1.0, 0.5, 0.019, 1e-6]]).log().expand(3, 4)
    assert log_proxy(logits, torch.tensor([0, 1, 2])).tolist() == pytest.approx(
        [math.log(1 / 1.5), math.log(0.5 / 1.5), -math.inf]
    )


def test_lp_reg_is_the_clipped_loss_but_at_rare_tokens(base):
    rows = sampled(base, 40, 16)
    wrong = torch.where(torch.arange(len(rows)) % 2 == 0, 1.0, -1.0).tolist()
    method = task("lp_reg")
    chosen, logp = rows.action_mask & rows.valid, rows.logp_old.clone()
    advantage = torch.tensor(wrong)[:, None] * chosen
    weight = token_mean(chosen, 9).float()

    def slope(loss):
        own = logp.clone().requires_grad_()
        return torch.autograd.grad(loss(own), own)[0]

    ours = slope(lambda x: method.regularised(base, x, rows, advantage, weight))
    usual = slope(lambda x: clipped_policy_loss(x, rows.logp_old, advantage, weight, 0.2, 0.28))
    differ = (ours - usual).abs() > 1e-7
    below = chosen & (advantage < 0) & (logp <= rarest(logp[chosen & (advantage < 0)]))
    assert below.any() and not (differ & ~below).any()
    proxy = over_vocabulary(base, rows, below, 10_000, log_proxy)
    rare = below & (logp < proxy)
    lift = weight * (1 - (proxy - logp).exp())
    assert torch.allclose((ours - usual)[rare], lift[rare], atol=1e-6) and (lift[rare] < 0).all()


def test_rover_regresses_on_the_centred_reward_and_the_next_value():
    rows, centred = rows_of(2, 3), [0.5, -0.5]
    chosen, weight = rows.action_mask & rows.valid, torch.ones(rows.ids.shape)
    value = torch.tensor([[0.0, 7.0, 0.2, 0.0], [0.0, 7.0, -0.4, 0.1]])
    found = slopes(lambda _, *own: rover_loss(*own, value), rows, torch.tensor(0.3), centred, weight)
    expected = 2 * torch.tensor([[0.3 - 0.5 - 0.2, 0.3 - 0.5, 0.0], [0.3 + 0.5 + 0.4, 0.3 + 0.5 - 0.1, 0.3 + 0.5]])
    assert torch.allclose(found[:, 1:][chosen[:, 1:]], expected[chosen[:, 1:]])
    first = slopes(lambda _, *own: rover_loss(*own, torch.zeros(2, 4)), rows, torch.zeros(1), centred, weight)
    assert torch.allclose(first, 2 * plain(rows, centred, lambda c, _: c.double()))
    assert mean_logp(torch.zeros(1, 8), torch.tensor([3])).item() == pytest.approx(-math.log(8))


def test_prorl_is_the_clipped_loss_beside_a_reference_and_pulls_towards_it():
    method, rows, advantage = task("prorl"), rows_of(2, 4), [1.0, -0.5]
    method.reference_logp = rows.logp_old
    assert torch.allclose(slopes(method.penalised, rows, torch.zeros(1), advantage), plain(rows, advantage))
    method.reference_logp = rows.logp_old + 1.0
    pulled = slopes(method.penalised, rows, torch.zeros(1), [0.0, 0.0])
    assert pulled[1, 1:].tolist() == pytest.approx([0.01 * (1 - math.e) / 6] * 4, rel=1e-4)


@pytest.fixture(scope="module")
def base() -> Policy:
    return world_policy("functions")


def sampled(policy: Policy, prompts: int, tokens: int) -> Rows:
    """Two completions of some prompts."""
    ids = [[5 + p, 9] for p in range(prompts)]
    return generate(policy, ids, 2, SamplingParams(tokens), list(range(2 * prompts)))


def test_a_step_on_a_loss_of_rows_follows_its_own_gradient(policy):
    """As computed by autograd through the model's forward pass over each row, at ratios that are not 1."""
    twin, rows = policy.snapshot(), sampled(policy, 3, 6)
    rows = replace(rows, logp_old=rows.logp_old - 2e-4 * rows.action_mask)
    advantage = torch.tensor([1.0, -1.0, 0.3, -0.3, 0.0, 0.0])[:, None] * rows.action_mask
    logp = torch.stack([
        torch.cat([torch.zeros(1), log_probability(twin.model(row[None]).logits[0, :-1], row[1:])]) for row in rows.ids
    ])  # fmt: skip
    gspo_loss(twin, logp, rows, advantage, None).backward()
    own = [p.grad.clone() for p in twin.model.parameters()]
    optimizer = Optimizer([torch.optim.SGD(twin.model.parameters(), lr=0.0)])
    loss = PolicyLoss(of_rows=gspo_loss)
    numbers = policy_step(twin, optimizer, rows, advantage, loss, UpdateSettings(max_grad_norm=math.inf))
    for found, expected in zip(twin.model.parameters(), own, strict=True):
        assert torch.allclose(found.grad, expected, atol=1e-6)
    scored = score(twin, rows, rows.action_mask, 10_000).logp_action
    assert numbers["loss"] == pytest.approx(gspo_loss(twin, scored, rows, advantage, None).item())


def test_sar_pays_what_the_question_says_of_the_answer(base):
    rows = sampled(base, 2, 5)
    alone = without_prompt(base, rows)
    for r in range(len(rows)):
        own = rows.ids[r][rows.action_mask[r]].tolist()
        assert alone.tokens(r) == [*base.start_ids, *own] and int(alone.action_mask[r].sum()) == len(own)
    logp, chosen = torch.tensor([[-1.0, -3.0, -9.0]]), torch.tensor([[True, True, False]])
    assert perplexity(logp, chosen).item() == pytest.approx(math.exp(2.0))


def test_laser_pays_short_right_programs_half_as_much_again():
    method, rows = task("laser", max_new_tokens=4), rows_of(2, 3, 2, 3)
    graded = SimpleNamespace(passed=torch.tensor([[1.0, 1.0], [0.0, 0.0]]), rows=rows)
    assert method.reward(None, graded).tolist() == [1.5, 1.0, 0.0, 0.0]


def test_mopps_believes_what_it_saw_and_takes_what_is_near_one_half():
    problems = WORLDS["functions"].problems("rl", 0, 40, "known")
    method = METHODS["mopps"](None, problems, None, SETTINGS, UpdateSettings(), 0)
    names = [problem.id for problem in problems]
    method.learn(names[:2], torch.tensor([3.0, 0.0]), torch.tensor([1.0, 4.0]))
    assert method.beliefs["passes"][:3] == [4.0, 1.0, 1.0] and method.beliefs["failures"][:3] == [2.0, 5.0, 1.0]
    method.learn(names[:1], torch.tensor([0.0]), torch.tensor([4.0]))
    assert method.beliefs["passes"][0] == 2.5 and method.beliefs["failures"][0] == 5.5
    for _ in range(12):
        method.learn(names[:30], torch.zeros(30), torch.full((30,), 200.0))
        method.learn(names[30:], torch.full((10,), 200.0), torch.full((10,), 200.0))
    taken = [problem.id for step in range(5) for problem in method.items(step)]
    assert set(taken) <= set(names[30:]) and method.items(3) == method.items(3)


def test_scale_rl_weighs_problems_alike_and_draws_no_easy_one_again():
    problems = WORLDS["functions"].problems("rl", 0, 6, "known")
    method = METHODS["scale_rl"](None, problems, None, SETTINGS, UpdateSettings(), 0)
    method.solved.update({problem.id: True for problem in problems[:3]})
    assert {problem.id for step in range(4) for problem in method.items(step)} == {p.id for p in problems[3:]}
    rows = rows_of(1, 3, 2, 2, 1, 1)
    graded = SimpleNamespace(rows=rows, group_size=2, dead=torch.tensor([False, False, True]))
    graded.grouped = lambda values: values.unflatten(0, (-1, 2))
    _, weighted = method.select(graded, rows.action_mask.float())
    assert weighted.sum(1).unflatten(0, (-1, 2)).sum(1)[:2].tolist() == pytest.approx([0.5, 0.5])


def test_shuffle_r1_pairs_the_best_with_the_worst_and_draws_by_contrast():
    advantage = torch.tensor([0.1, 0.9, -0.2, -0.8, 0.0, 0.0, 0.0, 0.0])
    pairs, contrast = contrasting_pairs(advantage, 4)
    assert pairs.tolist() == [[1, 3], [0, 2], [4, 7], [5, 6]]
    assert contrast.tolist() == pytest.approx([1.7, 0.3, 0.0, 0.0])
    drawn = draw_pairs(pairs, contrast, np.random.default_rng(0))
    assert len(drawn) == 8 and set(drawn.tolist()) <= {0, 1, 2, 3}
    many = torch.cat([draw_pairs(pairs, contrast, np.random.default_rng(n))[::2] for n in range(400)])
    assert float((many == 1).float().mean()) == pytest.approx(1.7 / 2.0, abs=0.03)
    assert draw_pairs(pairs, torch.zeros(4), np.random.default_rng(0)).tolist() == pairs.flatten().tolist()


def test_dars_brings_the_sum_of_absolute_advantages_up_to_its_largest():
    """1 of 8 pass: each of S = 2 * 1/8 * 7/8 absolute advantage, 8 S = 1.75; 11 more bring 19 S to more than 4."""
    assert more_programs(1, 8) == 11 and more_programs(0, 8) == 24 and more_programs(4, 8) == 0
    assert (8 + 10) * 2 / 8 * 7 / 8 < 4 <= (8 + 11) * 2 / 8 * 7 / 8
    reward, group = torch.tensor([1.0, 0.0, 0.0, 9.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 1, 1, 0])
    counted = torch.tensor([True, True, True, False, True, True])
    assert unequal_group_mean(reward, counted, group).tolist() == pytest.approx([1 / 3, -2 / 3, -0.5, 0.0, 0.5, 1 / 3])
    equal = torch.tensor([[1.0, 0.0], [3.0, 5.0]])
    alike = unequal_group_mean(equal.flatten(), torch.ones(4, dtype=torch.bool), torch.tensor([0, 0, 1, 1]))
    assert torch.equal(alike, group_mean(equal, torch.ones(2, 2, dtype=torch.bool)).flatten())


def test_pods_keeps_the_half_of_the_greatest_variance():
    """As found among all halves; equal rewards leave any half, and what does not count is not chosen."""
    rewards = torch.rand(20, 6, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    counted = torch.ones(20, 6, dtype=torch.bool)
    kept = most_varied(rewards, counted, 3)
    assert (kept.sum(1) == 3).all()
    for own, which in zip(rewards, kept, strict=True):
        best = max(own[list(three)].var(correction=0) for three in combinations(range(6), 3))
        assert own[which].var(correction=0) == pytest.approx(best.item(), abs=1e-6)
    counted[:, 0] = False
    assert not most_varied(rewards, counted, 3)[:, 0].any()
    assert torch.equal(most_varied(rewards, counted, 5), counted)


def test_controls_pay_by_a_coin_or_for_failing():
    rows = rows_of(*[1] * 400)
    graded = SimpleNamespace(passed=torch.tensor([[1.0, 0.0]]), rows=rows)
    assert task("inverted_reward").reward(None, graded).tolist() == [0.0, 1.0]
    method = task("random_reward")
    method.step = 3
    coins = method.reward(None, graded)
    assert set(coins.tolist()) == {0.0, 1.0} and abs(float(coins.mean()) - 0.5) < 0.1
    assert torch.equal(coins, method.reward(None, graded))
    method.step = 4
    assert not torch.equal(coins, method.reward(None, graded))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_twice_from_the_same_programs(tmp_path, name):
    """The second time at ratios that are not 1."""
    learned, line = run(tmp_path, name, steps=1)
    assert not torch.equal(weights(learned), weights(world_policy(world_of(name))))
    assert json.loads(line)["grad_norm"] > 0 and json.loads(line)["logp_gap_max"] < 1e-4


@pytest.mark.parametrize(
    "name", ["prorl", "mopps", "scale_rl", "rlpr", "sample_replay", "subnetwork", "nlpo", "spo", "archer"]
)
def test_methods_with_a_state_go_on_after_a_stop(tmp_path, name):
    class Dying(task_class(name, "likelihood" if name in NEED_REFERENCES else "tests")):
        def after_step(self, step, numbers):
            super().after_step(step, numbers)
            if step == 1:  # and so before it is saved
                raise KeyboardInterrupt

    own = {"epochs": 1, "batch_problems": 3, "samples": 3}
    whole, lines = run(tmp_path / "whole", name, **own)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", name, Dying, **own)
    parts, again = run(tmp_path / "parts", name, **own)
    assert again == lines and torch.equal(weights(whole), weights(parts))


def test_every_method_is_one_short_file_and_in_the_table():
    page = PAGE.read_text(encoding="utf-8")
    assert page == methods_page(page), "make the tables again: .venv/bin/python tests/methods_page.py"
    files = [Path(ra3.rl.methods.__file__).with_name(f"{name}.py") for name in METHODS if name != "policy_gradient"]
    lengths = {file.name: file.read_text(encoding="utf-8").count("\n") for file in files}
    critics_and_summaries = {"archer.py": 78, "supo.py": 90}  # fitting critics by turns; rows and their summaries
    assert {name: n for name, n in lengths.items() if n > critics_and_summaries.get(name, 60)} == {}
    assert {len(kinds) >= 2 for kinds in KINDS.values()} == {True} and len(METHODS) > 30
    complete = re.compile(r"\| `\w+`: \[.+\]\(https://arxiv.org/abs/\d{4}\.\d{5}\).+ \| `.+` \| .+ \| \w.+ \|\n")
    assert [kind for kinds in KINDS.values() for kind in kinds if not complete.fullmatch(row(kind))] == []


def test_a_method_that_keeps_a_model_beside_is_planned_with_it(base):
    kept = {
        name: memory_plan(base, Config(rlvr=RlvrSettings(method=name)), "rlvr").weights for name in ("gspo", "prorl")
    }
    assert kept["prorl"] - kept["gspo"] == 4.0 * base.num_parameters


def test_rewards_and_settings_that_a_method_has_no_use_for_are_refused():
    for name in NOT_SHARDED:
        with pytest.raises(ValueError, match="run.shard"):
            Config(run=RunSettings(shard=True), rlvr=RlvrSettings(method=name))
    for own in ({"method": "rlpr"}, {"method": "pacs", "reward": "likelihood"}, {"method": "gspo", "loss": "cispo"}):
        with pytest.raises(ValueError, match="rlvr.method"):
            Config(rlvr=RlvrSettings(**own))
    with pytest.raises(UserError, match=r"problems have no reference .*"):
        load_rl_problems(Config(rlvr=RlvrSettings(method="guide")))
    for method, names in DECIDED_BY_METHOD.items():
        assert method in METHODS and set(names) < set(RlvrSettings.model_fields)
    assert {*NEED_VERDICTS, *NEED_REFERENCES} < set(METHODS) == set(get_args(RlvrMethod))
