"""Methods of several turns: each formula by numbers computed by hand and by what it reduces to."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
import torch
from method_runs import rows_of, task, world_policy

from ra3.data.tokens import token_ids
from ra3.grading.grade import Verdict
from ra3.grading.problem_tests import AnswerTest
from ra3.grading.problems import Problem
from ra3.rl.methods import archer, ssrl
from ra3.rl.methods.archer import critics
from ra3.rl.methods.grpo_roc import penalty, resampled
from ra3.rl.methods.supo import Summarised
from ra3.rl.methods.zero_search import NoisySearch, noise
from ra3.rl.solve import GradedPrograms
from ra3.rows import FULL, RowBuilder, Rows, build

PASS, FAIL = Verdict(True, "passed", 0.0), Verdict(False, "wrong_answer", 0.0)


def kept(passed: list[int], penalties: list[float], size: int) -> list[int]:
    """Which episodes of one problem are learned from; -1 for one without a verdict."""
    verdicts = torch.tensor([passed])
    return resampled(verdicts > 0, verdicts >= 0, torch.tensor([penalties]), size)[0].nonzero()[:, 0].tolist()


def test_resampling_keeps_the_passes_with_the_best_calls_and_failures_as_they_come():
    assert penalty(0, 3, 1) == 0 and penalty(1, 4, 1) == 0.25 and penalty(0, 0, 1) == 0.5
    assert penalty(2, 4, 3) == 0.5 + 2 / 5 and penalty(0, 1, 9) == 1.0 and penalty(0, 2, 0) == 1.0
    assert kept([1, 1, 1, 1, 0, 0, 0, 0], [0.5, 0.0, 0.3, 0.2, 0, 0, 0, 0], 4) == [1, 3, 4, 5]
    assert kept([0, 1, 1, 1, 1, 1, 1, 0], [0, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0], 4) == [0, 5, 6, 7], "two failures stay"
    assert kept([1, 0, 0, 0, 0, 0, 0, 0], [9.0] + [0] * 7, 4) == [0, 1, 2, 3], "the one pass stays"
    assert kept([1, 1, 1, 1], [0.1, 0.3, 0.0, 0.2], 2) == [0, 2] and kept([0, 0, 0, 0], [0] * 4, 2) == [0, 1]
    assert kept([1, 1, 0, 0], [0.2, 0.1, 0, 0], 2) == [1, 2], "one of each, where two are kept"
    assert kept([1, -1, 0, -1], [0] * 4, 2) == [0, 2] and kept([-1, -1], [0, 0], 1) == []
    assert kept([1, 0, 1, 0], [0.5, 0, 0, 0], 4) == [0, 1, 2, 3], "with as many as there are it is the default"


def test_searches_get_worse_as_the_equation_says():
    assert noise(0) == 0 and noise(1) == 0.5 and math.isclose(noise(0.5), 0.5 * (2 - 1) / 3)
    documents = tuple(f"number {n}" for n in range(20))
    asked = Problem(
        "q", "Q\n", None, (AnswerTest("1"),), tools=("search",), documents=documents, meta={"max_documents": 1}
    )

    def found(share: float) -> list[str]:
        environment = NoisySearch(share, 0, None)
        environment.reset([asked] * 200)
        return [environment.search(episode, "7") for episode in range(200)]

    assert found(0.0) == [["number 7"]] * 200 and ["number 7"] not in found(1.0)
    assert abs(found(0.5).count(["number 7"]) - 100) < 30 and found(0.5) == found(0.5)


def sampled(text: str) -> Rows:
    """A row in which the words-problems policy wrote a text behind one token."""
    row = RowBuilder.start(0, [1])
    for token in token_ids(world_policy("word-problems").tokenizer, [text])[0]:
        row.append(token, 0, FULL, 0.0, 0.0)
    return build([row])


def test_what_the_policy_told_itself_is_left_out():
    policy = world_policy("word-problems")
    text = "<search>red cups</search>\n<information>The red cups are 7.</information>\n<answer>7"
    rows = sampled(text)
    own = task("ssrl")
    own.policy = policy
    learned, advantage = own.select(GradedPrograms(rows, [None], 1, [PASS]), torch.ones(rows.ids.shape))
    left = "".join(policy.token_text(t) for t in rows.ids[0, rows.action_mask[0] & ~learned.action_mask[0]].tolist())
    assert left == "<information>The red cups are 7.</information>"
    assert torch.equal(advantage > 0, learned.action_mask)
    plain = sampled("<answer>7")
    same, _ = own.select(GradedPrograms(plain, [None], 1, [PASS]), torch.ones(plain.ids.shape))
    assert torch.equal(same.action_mask, plain.action_mask), "without information it is the default"


def test_the_reward_for_good_form(monkeypatch):
    good, bad = "<search>a</search>\n<information>b</information>\n<answer>7", "<search>a</search>\n<answer>7"
    assert ssrl.in_form(good) and ssrl.in_form(2 * good)
    assert not any(map(ssrl.in_form, (bad, "<answer>7", "<information>b</information>", good + bad)))
    policy, own = world_policy("word-problems"), task("ssrl")
    for text, verdict, reward in ((good, PASS, 1.0), (bad, PASS, 0.8), (good, FAIL, 0.2), (bad, FAIL, 0.0)):
        rollouts = GradedPrograms(sampled(text), [None], 1, [verdict])
        assert own.reward(policy, rollouts).tolist() == pytest.approx([reward])
        with monkeypatch.context() as patched:
            patched.setattr(ssrl, "FORM", 0.0)
            assert own.reward(policy, rollouts).tolist() == [float(verdict.passed)], "without it, the verdict"


def test_critics_find_the_values_of_a_chain(monkeypatch):
    """From s0 `left` ends with 0.2 on average and `right` leads to s1, whence `up` pays 1 and `down` 0: states and acts
    are one-hot, so that the values are means, Q(right) = V(s1), and advantages those of REINFORCE by turns."""
    monkeypatch.setattr(archer, "RIDGE", 1e-9)
    random = Random(0)
    state, act, after, reward, ends = [], [], [], [], []
    hot = torch.eye(6)
    for number in range(400):
        right = number % 4 < 2
        state.append(hot[0])
        act.append(hot[3 if right else 2])
        after.append(hot[1])
        ends.append(not right)
        reward.append(0.0 if right else float(number // 4 % 5 == 0))
        if right:
            up = number % 2
            state.append(hot[1])
            act.append(hot[4 if up else 5])
            after.append(hot[0])
            ends.append(True)
            reward.append(float(up))
    order = random.sample(range(len(state)), len(state))
    columns = [torch.stack([own[n] for n in order]) for own in (state, act, after)]
    value, *twins = critics(*columns, torch.tensor(reward)[order], torch.tensor(ends)[order])
    for twin in twins:
        assert torch.allclose(twin[2:], torch.tensor([0.2, 0.5, 1.0, 0.0]), atol=0.1)
        assert torch.allclose(twin[3], value[1], atol=1e-4), "an act is worth what it leads to"
    assert torch.allclose(value[:2], torch.tensor([0.35, 0.5]), atol=0.07)


def test_episodes_of_one_turn_are_learned_with_a_learned_baseline(monkeypatch):
    """Where Q is the verdict, A = r - V."""
    monkeypatch.setattr(archer, "RIDGE", 1e-6)
    rows, own = rows_of(2, 3, 1, 4, samples=4), task("archer")
    reward, chosen = torch.tensor([1.0, 0.0, 0.0, 1.0]), rows.action_mask & rows.valid
    first = chosen & ~chosen.roll(1, 1)
    own.hidden = lambda _, wanted: torch.ones(4, 1) if torch.equal(wanted, first) else reward[:, None]
    advantage = own.advantage(GradedPrograms(rows, [None], 4, [PASS, FAIL, FAIL, PASS]), reward)
    assert torch.allclose(advantage, (reward - 0.5)[:, None] * chosen, atol=1e-3)


def test_rows_of_an_episode_share_what_it_earned():
    own, rows = task("supo", max_new_tokens=64), rows_of(2, 1, samples=2)
    earlier = replace(rows_of(3), group=torch.tensor([0]))
    rollouts = Summarised(rows, [None], 2, [PASS, FAIL], earlier=[earlier], episode=[1])
    advantage = torch.tensor([[0.5], [-0.5]]) * rows.action_mask
    learned, against = own.select(rollouts, advantage)
    assert against.sum(1).tolist() == [1.0, -0.5, -1.5] and learned.group.tolist() == [0, 0, 0]
    cut = replace(rollouts, rows=replace(rows, finished=torch.tensor([True, False])))
    assert own.select(cut, advantage)[1].sum(1).tolist() == [1.0, 0.0, 0.0], "what comes to no end teaches nothing"
    plain = Summarised(rows, [None], 2, [PASS, FAIL])
    assert torch.equal(own.select(plain, advantage)[1], advantage), "where no context fills up it is the default"
