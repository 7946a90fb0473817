"""Methods of RLVR that go on from a beginning, are helped by a prompt or draw otherwise: formulas by hand, and rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from method_runs import OLD, plain, rows_of, run, slopes, task, world_policy

from ra3.grading.grade import Verdict
from ra3.grading.problems import Problem
from ra3.model.update import score
from ra3.rl.advantages import group_mean
from ra3.rl.methods.critique_grpo import criticised, shaped
from ra3.rl.methods.direct_advantage import step_regression
from ra3.rl.methods.guide import hinted
from ra3.rl.methods.nlpo import inside_nucleus
from ra3.rl.methods.rest_grpo import new_starts
from ra3.rl.methods.tree_po import least_likely_cuts, tree_advantage
from ra3.rl.off_policy import behind_prompts
from ra3.rl.prefixes import segment_gains, segment_starts
from ra3.rl.solve import GradedPrograms
from ra3.rollout.generate import Companion, SamplingParams, generate
from ra3.rollout.programs import encode_prompts
from ra3.rows import Rows, concatenate, grafted

PARAMS = SamplingParams(12)
PROMPTS = [[5, 9], [7, 9]]


def own_scores(policy, rows: Rows) -> torch.Tensor:
    """[B,T] what the policy's forward pass says of the chosen tokens."""
    return torch.where(rows.action_mask, score(policy, rows, rows.action_mask, 10_000).logp_action, 0.0)


def graded(rows: Rows, passed: list[float], group_size: int) -> GradedPrograms:
    """Programs with these verdicts."""
    verdicts = [Verdict(bool(own), "passed" if own else "wrong_answer", 0.0) for own in passed]
    items = [Problem(f"p{g}", "x", None, (), reference="y") for g in range(len(passed) // group_size)]
    return GradedPrograms(rows, items, group_size, verdicts)


def test_completions_go_on_from_what_is_begun(policy):
    whole = generate(policy, PROMPTS, 1, PARAMS, [0, 1])
    begun = [whole.ids[r, whole.action_mask[r]][: 3 + r].tolist() for r in range(2)]
    rows = generate(policy, PROMPTS, 2, PARAMS, [2, 3, 4, 5], begun=begun)
    for r in range(4):
        ids, start = rows.ids[r], [*policy.start_ids, *PROMPTS[r // 2], *begun[r // 2]]
        assert ids[: len(start)].tolist() == start and not rows.action_mask[r, : len(start)].any()
        assert 0 < int(rows.action_mask[r].sum()) <= 12 - len(begun[r // 2])
    assert torch.allclose(own_scores(policy, rows), rows.logp_old, atol=1e-4)
    joined = grafted(whole.select([0, 0, 1, 1]), rows)
    assert int((joined.action_mask & ~rows.action_mask).sum()) == 2 * 3 + 2 * 4
    assert torch.allclose(own_scores(policy, joined), joined.logp_old, atol=1e-4)
    assert torch.equal(joined.ids, rows.ids) and (joined.step[joined.action_mask] == 0).all()


def test_a_segment_is_paid_for_what_it_adds_and_a_single_one_the_verdict_against_the_group():
    rows = rows_of(5, 3)
    segment = torch.tensor([[0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0]])
    assert segment_starts(segment, rows.action_mask) == [(0, 2), (0, 3)]
    worth = {(0, 2): 0.25, (0, 3): 0.75}
    gains = segment_gains(segment, rows.action_mask, worth, torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    assert gains.tolist() == [[0.0, -0.25, -0.25, 0.5, 0.25, 0.25], [0.0, -0.5, -0.5, -0.5, 0.0, 0.0]]


def test_spo_begins_a_segment_at_every_fifth_uncertain_token_and_learns_from_these_alone(policy):
    method, rows = task("spo"), rows_of(12, 2)
    sure = torch.zeros(rows.ids.shape, dtype=torch.bool)
    sure[0, [1, 3, 8]] = True
    rows = replace(rows, logp_old=torch.where(sure, -0.05, rows.logp_old))
    method.segment = method.segments(policy, rows)
    assert method.segment[0, 1:].tolist() == [0] * 8 + [1] * 4  # tokens 2 4 5 6 7 are uncertain, and 9 begins the next
    programs, method.worth = graded(rows, [1.0, 0.0], 2), {(0, 8): 0.75}
    advantage = method.advantage(programs, programs.passed.flatten())
    own = [0, 0.25, 0, 0.25, 0.25, 0.25, 0.25, 0, 0.25, 0.25, 0.25, 0.25]
    assert advantage[0, 1:].tolist() == pytest.approx(own)
    assert advantage[1, 1:3].tolist() == [-0.5, -0.5]
    assert torch.equal(group_mean(programs.passed, programs.counted), torch.tensor([[0.5, -0.5]]))


def test_direct_advantage_fits_log_ratios_of_lines_to_what_they_add():
    rows = rows_of(3, 1)
    segment = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]])
    gain = torch.tensor([[0.0, 0.4, 0.4, -0.2], [0.0, 0.1, 0.0, 0.0]])
    logp = rows.logp_old.clone().requires_grad_()
    step_regression(logp, rows, gain, segment).backward()
    assert torch.allclose(logp.grad, -gain / 3), "three steps, at ratios of 1"
    away = rows.logp_old + 0.1 * rows.action_mask
    expected = ((0.2 - 0.4) ** 2 + (0.1 + 0.2) ** 2 + (0.1 - 0.1) ** 2) / 2 / 3
    assert step_regression(away, rows, gain, segment).item() == pytest.approx(expected)


def test_direct_advantage_takes_lines_for_steps(policy):
    ids = policy.tokenizer("a = 1\nb\n\nc").input_ids
    rows = rows_of(len(ids))
    rows.ids[0, 1:] = torch.tensor(ids)
    found = task("direct_advantage").segments(policy, rows)[0, 1:].tolist()
    lines = np.cumsum(["\n" in policy.token_text(token) for token in ids])
    assert found == [0, *lines[:-1].tolist()] and max(found) >= 2


def test_tree_po_also_compares_with_those_that_share_a_beginning():
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    every = torch.ones(1, 4, dtype=torch.bool)
    found = tree_advantage(reward, every)
    expected = [(4 * 0.75 + 2 * 0.5) / 6, (4 * -0.25 + 2 * -0.5) / 6, 4 * -0.25 / 6, 4 * -0.25 / 6]
    assert found[0].tolist() == pytest.approx(expected)
    programs = graded(rows_of(1, 1, 1, 3, samples=4), [1.0, 0.0, 0.0, 0.0], 4)
    advantage = task("tree_po").advantage(programs, programs.passed.flatten())
    tokens = torch.tensor([*expected[:3], *[expected[3]] * 3])
    whitened = (tokens - tokens.mean()) / tokens.std(correction=0)
    assert torch.allclose(advantage[programs.rows.action_mask], whitened, atol=1e-5)
    rows = rows_of(7, 2)
    rows.logp_old[0, 1:] = torch.tensor([-9.0, -9.0, -9.0, -1.0, -9.0, -9.0, -3.0])
    assert least_likely_cuts(rows, 3) == [6, 0]


def test_rest_grpo_starts_behind_a_line_of_a_program_that_passed(policy):
    ids = policy.tokenizer("a\nb\nc\nd").input_ids
    rows = rows_of(*[len(ids)] * 6, samples=3)
    rows.ids[:, 1:] = torch.tensor(ids)
    programs = graded(rows, [0.0, 1.0, 0.0, 1.0, 1.0, 1.0], 3)
    ends = [t + 1 for t, token in enumerate(ids[:-1]) if "\n" in policy.token_text(token)]
    drawn = [new_starts(policy, programs, np.random.default_rng(n)) for n in range(3000)]
    assert {start[0][0] for start in drawn} == {1} and {len(start) for start in drawn} == {1}
    shares = [np.mean([start[0][1] == end for start in drawn]) for end in ends]
    odds = 0.95 ** np.arange(len(ends))
    assert len(ends) >= 2 and shares == pytest.approx(list(odds / odds.sum()), abs=0.04)


def test_off_policy_ratios_are_to_what_wrote_the_tokens():
    method, rows, advantage = task("sample_replay"), rows_of(2, 4), [1.0, -0.5]
    method.behaviour = rows.logp_old
    assert torch.allclose(slopes(method.off_policy_loss, rows, torch.zeros(1), advantage), plain(rows, advantage))
    method.behaviour = rows.logp_old - 0.1
    found = slopes(method.off_policy_loss, rows, torch.zeros(1), advantage)
    assert torch.allclose(found, math.exp(0.1) * plain(rows, advantage))
    method.behaviour = rows.logp_old - 1.0
    found = slopes(method.off_policy_loss, rows, torch.zeros(1), advantage)
    assert not found[0].any() and found[1].any(), "a ratio of e is clipped where A > 0"


def test_programs_with_help_are_learned_behind_their_own_prompt(policy):
    problems = [Problem("q", "def f(x):\n", None, (), cue="\nA:", reference=" 7\n")]
    told = hinted(problems[0])
    assert told.prompt == "A: 7\ndef f(x):\n" and told.id == "q"
    rows = generate(policy, encode_prompts(policy, [told]), 2, PARAMS, [0, 1])
    moved = behind_prompts(policy, rows, problems * 2)
    (prompt,) = encode_prompts(policy, problems)
    for r in range(2):
        written = rows.ids[r, rows.action_mask[r]].tolist()
        assert moved.tokens(r) == [*policy.start_ids, *prompt, *written]
        assert moved.logp_old[r, moved.action_mask[r]].tolist() == rows.logp_old[r, rows.action_mask[r]].tolist()
    assert criticised(problems[0], " return 1\n", "wrong_answer").prompt.splitlines() == [
        *("def f(x):", " return 1", "# wrong_answer", "def f(x):")
    ]


def test_guide_hints_where_nothing_passes_and_critique_grpo_where_something_fails(policy):
    rows = rows_of(1, 1, 1, 1)
    programs = graded(rows, [0.0, 0.0, 0.0, 1.0], 2)
    assert list(task("guide").prompts(policy, programs)) == [0]
    assert list(task("critique_grpo").prompts(policy, programs)) == [0, 1]
    assert not task("critique_grpo").prompts(policy, graded(rows, [1.0] * 4, 2))


def test_critique_grpo_moves_tokens_of_probability_a_tenth_most():
    logp = torch.tensor([0.01, 0.1, 0.9]).log().requires_grad_()
    shaped(logp).sum().backward()
    assert logp.grad.tolist() == pytest.approx([0.1 * p / (p + 0.1) ** 2 for p in (0.01, 0.1, 0.9)])
    method, rows = task("critique_grpo"), rows_of(2, 2)
    method.behaviour, method.helped = rows.logp_old, torch.tensor([False, True])
    found, p = slopes(method.off_policy_loss, rows, torch.zeros(1), [1.0, 2.0]), math.exp(OLD)
    assert found[0, 1:].tolist() == pytest.approx([-0.25] * 2)
    assert found[1, 1:].tolist() == pytest.approx([-0.25 * 2 * 0.1 * p / (p + 0.1) ** 2] * 2)


def test_hinted_programs_are_learned_at_the_policys_own_scores(tmp_path):
    """On hard problems, of which the base model solves none: programs with hints, and no gap to the sampler."""
    seen = []

    class Watched(type(task("guide"))):
        def select(self, rollouts, advantage):
            rows, against = super().select(rollouts, advantage)
            seen.append((rollouts, rows, self.behaviour))
            return rows, against

    _, line = run(tmp_path, "guide", Watched, band="hard", steps=1, batch_problems=2, samples=2)
    ((rollouts, rows, behaviour),) = seen
    (more,) = rollouts.more
    assert len(rows) == len(rollouts.rows) + len(more.rows) == 8 and rows.group[4:].tolist() == [0, 0, 1, 1]
    base, fresh = world_policy("word-problems"), concatenate([rollouts.rows, more.rows])
    assert torch.allclose(own_scores(base, rows), rows.logp_old * rows.action_mask, atol=1e-4)
    assert torch.equal(behaviour, fresh.logp_old) and (behaviour - rows.logp_old)[4:].abs().max() > 0.01
    assert torch.allclose(behaviour[:4], rows.logp_old[:4], atol=1e-4)


def test_nlpo_draws_inside_what_its_copy_finds_likely(policy):
    copy = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    offered = inside_nucleus(copy, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert offered.tolist() == [[1.0, 2.0, 3.0, -math.inf]], "0.8 is not yet 0.9"
    usual = generate(policy, PROMPTS, 2, PARAMS, list(range(4)))
    same = generate(policy, PROMPTS, 2, PARAMS, list(range(4)), companion=Companion(policy, lambda _, own: own))
    assert torch.equal(usual.ids, same.ids) and torch.equal(usual.logp_old, same.logp_old)
    other = policy.snapshot()
    with torch.no_grad():
        other.model.get_output_embeddings().weight.mul_(40.0)  # sure of itself
    rows = generate(policy, PROMPTS, 2, PARAMS, list(range(4)), at_once=2, companion=Companion(other, inside_nucleus))
    with torch.no_grad():
        logits = other.model(rows.ids).logits
    for r, t in rows.action_mask.nonzero().tolist():
        assert math.isfinite(inside_nucleus(logits[r, t - 1][None], logits[r, t - 1][None])[0, rows.ids[r, t]])
    assert torch.allclose(own_scores(policy, rows), rows.logp_old, atol=1e-4)
