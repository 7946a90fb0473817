"""Methods of RLVR that choose tokens, rows, lengths or weights: formulas by hand, and what each reduces to."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from method_runs import OLD, SETTINGS, rows_of, run, task, weights, world_policy

from ra3.config.settings import UpdateSettings
from ra3.rl.advantages import group_std
from ra3.rl.loop import Rollouts
from ra3.rl.methods import METHODS
from ra3.rl.methods.forking_tokens import largest
from ra3.rl.methods.pass_at_k import pass_at_k_advantages
from ra3.rl.methods.sample_replay import draw
from ra3.rl.methods.subnetwork import most_moved
from ra3.worlds import WORLDS


@pytest.mark.parametrize(("passes", "count", "k"), [(1, 6, 3), (2, 6, 2), (3, 6, 3), (4, 8, 4)])
def test_pass_at_k_is_the_mean_over_all_sets_of_k(passes, count, k):
    paid = {chosen: float(min(chosen) < passes) for chosen in combinations(range(count), k)}
    mean, spread = np.mean(list(paid.values())), np.std(list(paid.values()))
    by_hand = [np.mean([(r - mean) / spread for chosen, r in paid.items() if i in chosen]) for i in (0, passes)]
    assert pass_at_k_advantages(passes, count, k) == pytest.approx(tuple(by_hand))


def test_pass_at_1_is_grpo_and_a_sure_set_teaches_nothing():
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    grpo = (
        group_std(reward, torch.ones(1, 4, dtype=torch.bool))[0] * (4 / 3) ** 0.5
    )  # its deviation is that of a sample
    assert pass_at_k_advantages(1, 4, 1) == pytest.approx((float(grpo[0]), float(grpo[1])), abs=1e-4)
    assert pass_at_k_advantages(3, 4, 2) == (0.0, 0.0) == pass_at_k_advantages(0, 4, 2)
    graded = SimpleNamespace(passed=reward, counted=torch.tensor([[True, True, True, False]]), rows=rows_of(1, 1, 1, 1))
    right, wrong = pass_at_k_advantages(1, 3)
    assert task("pass_at_k").advantage(graded, None)[:, 1].tolist() == pytest.approx([right, wrong, wrong, 0.0])


def test_forking_tokens_are_the_fifth_of_greatest_entropy():
    chosen = torch.ones(2, 5, dtype=torch.bool)
    entropy = torch.tensor([[0.1, 0.9, 0.2, 0.3, 0.0], [0.4, 0.1, 0.5, 0.8, 0.2]])
    assert largest(entropy, chosen, 0.2).nonzero().tolist() == [[0, 1], [1, 3]]
    assert torch.equal(largest(entropy, chosen, 1.0), chosen)
    chosen[0, 1] = False
    assert not largest(entropy, chosen, 0.2)[0, 1]


def test_old_programs_stand_in_for_those_without_a_signal():
    method = task("sample_replay")
    method.rescored = lambda rows: rows
    method.random = np.random.default_rng(0)

    def step(advantage: list[float], logp: float):
        rows = rows_of(1, 2, 1, 3)
        rows = replace(rows, logp_old=torch.where(rows.action_mask, logp, 0.0))
        return method.select(Rollouts(rows, [None] * 2, 2), torch.tensor(advantage)[:, None] * rows.action_mask)

    rows, against = step([0.5, -0.5, 0.0, 0.0], OLD)
    assert len(rows) == 4 and not against[2:].any(), "nothing to replay yet"
    rows, against = step([0.0, 0.0, 0.25, -0.25], -3.0)
    assert rows.group.tolist() == [1, 1, 0, 0] and against[:2].sum(1).tolist() == [0.25, -0.75]
    assert (rows.logp_old[2:][rows.action_mask[2:]] == OLD).all() and against[2:].abs().max() == 0.5
    assert method.replay["advantage"].tolist() == [0.5, -0.5, 0.25, -0.25]
    rows, against = step([0.5, -0.5, 0.5, -0.5], -4.0)
    assert (rows.logp_old[rows.action_mask] == -4.0).all(), "all have a signal"
    assert len(method.replay["rows"]["ids"]) == 8
    drawn = draw(torch.tensor([0.1, -0.3]), 2000, np.random.default_rng(1))
    assert np.mean(drawn) == pytest.approx(0.75, abs=0.03)


def test_programs_may_be_longer_from_stage_to_stage():
    problems = WORLDS["functions"].problems("rl", 0, 4, "known")
    settings = SETTINGS.model_copy(update={"steps": 8, "max_new_tokens": 41})
    method = METHODS["length_stages"](None, problems, None, settings, UpdateSettings(), 0)
    longest = [method.items(step) and method.settings.max_new_tokens for step in range(8)]
    assert longest == [11, 11, 21, 21, 31, 31, 41, 41]


def test_a_subnetwork_is_the_weights_that_moved_most():
    first = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    now = {"a": torch.tensor([[0.0, -5.0, 1.0], [0.0, 0.0, 0.0]]), "b": torch.tensor([1.0, 1.5, 1.0, 1.0])}
    mask = most_moved(now, first, 0.2)
    assert mask["a"].nonzero().tolist() == [[0, 1], [0, 2]] and not mask["b"].any()
    assert most_moved(now, first, 0.3)["b"].tolist() == [False, True, False, False]


def test_outside_its_subnetwork_nothing_has_changed(tmp_path):
    learned, _ = run(tmp_path, "subnetwork", steps=4, batch_problems=2, epochs=1)
    changed = (weights(learned) != weights(world_policy("functions"))).float().mean()
    assert 0 < float(changed) <= 0.2
