"""Episodes of several turns in ids: a policy of random weights now and then closes a call, and reads an error."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ra3.data.tokens import decode, token_ids
from ra3.environments import Environment
from ra3.grading.grade import Grader
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rollout.generate import SamplingParams
from ra3.rollout.programs import encode_prompts, write_programs
from ra3.rollout.turns import observation_ids, play
from ra3.rows import CONTEXT, FULL, RowBuilder, build, grafted, shortened, with_others
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS

WORLD, SAMPLES, LONGEST = WORLDS["look-ups"], 24, 64
PROBLEMS = WORLD.problems("rl", 0, 2, "edge")
OBSERVED = tuple(f"\n<{tag}>" for tag in ("error", "information", "output"))
SEEDS = list(range(2 * SAMPLES))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(WORLD.model, "random", torch.float32, torch.device("cpu"), 0)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(1) as made:
        yield made


def episodes(policy, sandbox, problems=PROBLEMS, longest=LONGEST):
    """Episodes of two problems, and {row: ids of its last turn}."""
    over = {}
    own = (
        policy,
        problems,
        encode_prompts(policy, problems),
        SAMPLES,
        SamplingParams(longest, 1.0),
        SEEDS,
    )
    rows = play(*own, Environment(sandbox.run), lambda _, ids: decode(policy.tokenizer, ids), over.update)
    return rows, over


@pytest.fixture(scope="module")
def played(policy, sandbox):
    return episodes(policy, sandbox)


def test_observations_stand_between_turns_and_are_no_actions(policy, played):
    rows, over = played
    assert sorted(over) == SEEDS and rows.group.tolist() == [r // SAMPLES for r in SEEDS]
    several = [r for r in SEEDS if rows.observed[r].any()]
    assert len(several) > 10 and rows.num_steps > 2
    ends = {text for problem in PROBLEMS for text in (f"</{tool}>" for tool in problem.tools)}
    for r in SEEDS:
        ids, step, chosen = rows.tokens(r), rows.step[r].tolist(), rows.action_mask[r].tolist()
        prompt = [*policy.start_ids, *encode_prompts(policy, PROBLEMS)[r // SAMPLES]]
        assert ids[: len(prompt)] == prompt and not any(chosen[: len(prompt)]) and len(ids) - len(prompt) <= LONGEST
        place, turn = len(prompt), 0
        while place < len(ids):
            end = place
            while end < len(ids) and step[end] == turn and chosen[end]:
                end += 1
            text = decode(policy.tokenizer, ids[place:end])
            told = end
            while told < len(ids) and step[told] == CONTEXT and not chosen[told]:
                told += 1
            if told > end:
                said = decode(policy.tokenizer, ids[end:told])
                assert text.endswith(tuple(ends)) and said.startswith(OBSERVED)
                assert ids[end:told] == observation_ids(policy, [said])[0]
            place, turn = told, turn + 1
        assert over[r] == rows.last_turn(r) == ids[len(ids) - len(over[r]) :]
    assert torch.equal(rows.logp != 0, rows.action_mask) and torch.equal(rows.logp_old != 0, rows.action_mask)


def test_what_was_sampled_has_the_probability_that_is_learned_from(policy, played):
    rows, _ = played
    found = score(policy, rows, rows.action_mask, 2048)
    assert float((found.logp_action - rows.logp_old)[rows.action_mask].abs().max()) < 1e-4


def test_lanes_and_problems_without_tools_change_nothing_of_an_episode(policy, sandbox, played):
    rows, over = played
    again, over_again = episodes(replace(policy, lanes=4), sandbox)
    assert over == over_again and torch.equal(rows.ids, again.ids) and torch.equal(rows.action_mask, again.action_mask)
    plain = [replace(PROBLEMS[0], tools=(), documents=()), PROBLEMS[1]]
    mixed, _ = episodes(policy, sandbox, plain)
    assert not mixed.observed[:SAMPLES].any()
    assert [mixed.tokens(r) for r in SEEDS[SAMPLES:]] == [rows.tokens(r) for r in SEEDS[SAMPLES:]]


def test_an_episode_that_ends_in_a_call_is_not_finished(policy, sandbox):
    few = [replace(problem, meta={"max_turns": 1}) for problem in PROBLEMS]
    rows, over = episodes(policy, sandbox, few)
    called = [r for r in SEEDS if decode(policy.tokenizer, over[r]).endswith(("</search>", "</python>"))]
    assert called and not rows.observed.any() and not rows.finished[called].any()
    short, _ = episodes(policy, sandbox, longest=12)
    assert not short.observed.any() or int(short.length.max()) <= 12 + 9


def test_rows_are_cut_grafted_and_put_in_place():
    row = RowBuilder.start(0, [7])
    row.append(1, 0, FULL, -1.0, -2.0)
    parent, child = build([row, row]), RowBuilder.start(0, [7, 1, 5, 6])
    child.append(2, 1, FULL, -3.0, -4.0)
    whole = grafted(parent, build([child, child]))
    assert whole.step[0].tolist() == [CONTEXT, 0, CONTEXT, CONTEXT, 1]
    assert whole.logp_old[0].tolist() == [0, -2, 0, 0, -4]
    assert whole.observed[0].tolist() == [False, False, True, True, False]
    assert whole.action_mask[0].tolist() == [False, True, False, False, True]
    cut = shortened(whole, torch.tensor([4, 1]))
    assert [cut.tokens(r) for r in (0, 1)] == [[7, 1, 5, 6], [7]] and cut.action_mask.sum(1).tolist() == [1, 0]
    assert cut.step[1].tolist() == [CONTEXT] * 5 and cut.importance[1].tolist() == [1.0] * 5
    put = with_others(parent, [1], whole.select([0]))
    assert [put.tokens(r) for r in (0, 1)] == [[7, 1], [7, 1, 5, 6, 2]]


def test_a_special_token_in_an_observation_is_text(policy):
    (ids,) = observation_ids(policy, ["\n<output>a<|endoftext|>b</output>"])
    assert policy.end_id not in ids and decode(policy.tokenizer, ids) == "\n<output>a<|endoftext|>b</output>"
    assert policy.end_id in token_ids(policy.tokenizer, ["<|endoftext|>"])[0]


def test_what_is_judged_is_the_last_turn(policy, sandbox):
    with Grader(sandbox) as grader:
        params = SamplingParams(LONGEST, 1.0)
        written = write_programs(policy, PROBLEMS, SAMPLES, params, SEEDS, grader)
        assert len(written.verdicts) == len(SEEDS)
    for r, said in enumerate(written.completions):
        last = [token for token in written.rows.last_turn(r) if token != policy.end_id]
        last = decode(policy.tokenizer, last).partition(WORLD.stop)[0]
        assert said.program == last.removeprefix("\n")
