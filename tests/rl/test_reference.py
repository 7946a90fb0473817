"""Reward from likelihood: cue and reference behind the model's own reasoning, the reward exact, and what is learned."""

from __future__ import annotations

import io
import json
import math

import pytest
import torch
from rich.console import Console

from ra3.cli import main
from ra3.commands.inputs import load_eval_problems, load_rl_problems
from ra3.config.settings import Config, EvalSettings, RlvrSettings, UpdateSettings
from ra3.data.tokens import decode, token_ids
from ra3.errors import UserError
from ra3.grading.derivation import facts_by_name, solution
from ra3.grading.problems import Problem, load
from ra3.model.policy import Policy
from ra3.rl.methods import METHODS
from ra3.rl.methods.verifree import learned_too
from ra3.rl.reference import AnsweredQuestions, AnswerQuestions, answered, up_to_cue, without_reasoning
from ra3.rlvr import task_class
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.programs import encode_prompts
from ra3.rows import FULL, RowBuilder, build
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.recorder import Recorder
from ra3.worlds import WORLDS

WORLD = WORLDS["word-problems"]
SETTINGS = RlvrSettings(steps=1, batch_problems=2, samples=3, max_new_tokens=60, reward="likelihood")


@pytest.fixture(scope="module")
def base() -> Policy:
    return Policy.load(WORLD.model, "pretrained", torch.float32, torch.device("cpu"), 0)


@pytest.fixture
def recorder(tmp_path):
    made = Run.create(tmp_path, "run", Config().model_dump(mode="json"), "rlvr")
    with Recorder(made, Display(made, Console(file=io.StringIO())), 1e9) as found:
        yield found
        made.close()


def task(name: str, recorder, problems, **changes):
    settings = SETTINGS.model_copy(update={"method": name, **changes})
    return task_class(name, "likelihood")(recorder, problems, None, settings, UpdateSettings(), 0)


def own_logp(policy: Policy, ids: list[int], behind: int) -> float:
    """log-probability of the last ids given the first `behind`, by the model's own forward pass."""
    with torch.no_grad():
        logp = policy.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(logp[behind - 1 : -1].gather(1, torch.tensor(ids[behind:])[:, None]).sum())


def test_the_reference_of_a_word_problem_is_the_last_sentence_of_its_solution():
    for problem in WORLD.problems("rl", 3, 9):
        (test,) = problem.tests
        last = solution(facts_by_name(test.facts), test.asked)[-1].sentence
        assert problem.cue + problem.reference == "\n" + last
        assert problem.cue == f"\nThe {test.asked}"


@pytest.mark.parametrize(
    ("written", "kept", "missing"),
    [
        ("so 7.\nA:", "so 7.\nA:", ""),
        ("so 7.\nA: 7\n", "so 7.\nA:", ""),
        ("so 7.", "so 7.", "\nA:"),
        ("", "", "\nA:"),
        ("\nA:\nA: 3", "\nA:", ""),
    ],
)
def test_reasoning_ends_with_the_cue_whatever_was_written(policy, written, kept, missing):
    ids = token_ids(policy.tokenizer, [written])[0] if written else []
    count, forced = up_to_cue(policy, [*ids, policy.end_id], "\nA:")
    text = decode(policy.tokenizer, ids[:count])
    assert text + decode(policy.tokenizer, forced) == kept + missing and kept.startswith(text)
    assert count == len(ids) or len(decode(policy.tokenizer, ids[: count + 1])) > len(kept)


def test_a_token_that_goes_beyond_the_cue_is_taken_back(policy):
    long = next(i for i in range(policy.vocabulary) if i not in policy.end_ids and len(policy.token_text(i)) > 4)
    cue = decode(policy.tokenizer, [long])[:3]
    count, forced = up_to_cue(policy, [long], cue)
    assert count == 0 and decode(policy.tokenizer, forced) == cue


def test_rows_stop_at_stop_strings_of_their_own(base):
    problems = WORLD.problems("rl", 0, 4, "known")
    stops = [(problem.cue,) for problem in problems]
    prompts = encode_prompts(base, problems)
    rows = generate(base, prompts, 2, SamplingParams(60), list(range(8)), stops=stops)
    for r in range(8):
        text = decode(base.tokenizer, rows.ids[r][rows.action_mask[r]].tolist())
        cue = problems[r // 2].cue
        assert cue not in text[:-1] and (cue in text) == (bool(rows.finished[r]) and "<|endoftext|>" not in text)


def test_the_reward_is_the_models_own_probability_of_the_reference(recorder, base):
    problems = WORLD.problems("rl", 0, 2, "known")
    own = task("policy_gradient", recorder, problems)
    rollouts = own.rollout(base, problems, 0)
    reward = own.reward(base, rollouts)
    rows, learned = rollouts.rows, rollouts.rows.action_mask
    assert not (learned & (rollouts.answers | rows.expert)).any() and learned.any(1).all()
    for r, problem in enumerate([problem for problem in problems for _ in range(3)]):
        ids, size = rows.tokens(r), int(rollouts.answers[r].sum())
        text = decode(base.tokenizer, ids[len(base.start_ids) :])
        assert text.startswith(problem.prompt.rstrip()) and text.endswith(problem.cue + problem.reference)
        assert decode(base.tokenizer, ids[-size:]) == problem.reference
        assert math.log(float(reward[r])) == pytest.approx(own_logp(base, ids, len(ids) - size), abs=1e-4)
        before = rollouts.sampled.logp_old[r][rollouts.sampled.action_mask[r]]
        assert torch.equal(rows.logp_old[r][learned[r]], before[: int(learned[r].sum())])
    numbers = own.metrics(base, rollouts, reward)
    assert numbers["reward"] == pytest.approx(float(reward.mean())) and numbers["dead_groups"] == 0


def by_hand(policy: Policy) -> AnsweredQuestions:
    """Two samples of one question, each of a little reasoning."""
    problems = [Problem("q", "def f(", None, (), cue="\n", reference="x = 1")]
    (prompt,) = encode_prompts(policy, problems)
    builders = []
    for words in ("y", "v"):
        row = RowBuilder.start(0, [*policy.start_ids, *prompt])
        for token in token_ids(policy.tokenizer, [words])[0]:
            row.append(token, 0, FULL, -1.0, -1.0)
        builders.append(row)
    sampled = build(builders)
    return AnsweredQuestions(answered(policy, sampled, problems), problems, 2, sampled)


def test_verifree_follows_the_gradient_of_the_probability_of_the_reference(policy):
    """Rows as they are learned: of reasoning with R - b, of the reference with R, since ∇ pi = pi ∇ log pi."""
    rollouts = by_hand(policy)
    reward, logp = torch.tensor([0.3, 0.1]), torch.full(rollouts.rows.ids.shape, -0.7)
    against = torch.tensor([0.2, -0.2])[:, None] * rollouts.rows.action_mask
    rows, advantage = learned_too(rollouts, against, logp, reward)
    answers = rollouts.answers
    for ids, own, expert in zip(rows.ids, answers, rows.expert, strict=True):  # the cue is forced, and no answer
        assert decode(policy.tokenizer, ids[own].tolist()) == "x = 1"
        assert decode(policy.tokenizer, ids[expert].tolist()) == "\nx = 1"
    assert torch.equal(rows.action_mask, rollouts.rows.action_mask | answers) and answers.any(1).all()
    assert (rows.logp_old[answers] == -0.7).all() and (rows.logp_old[rollouts.rows.action_mask] == -1.0).all()
    assert torch.equal(advantage, torch.where(answers, reward[:, None], against))


def test_rlpr_pays_what_reasoning_adds_to_the_mean_probability(recorder, base):
    problems = WORLD.problems("rl", 0, 2, "known")
    own = task("rlpr", recorder, problems)
    rollouts = own.rollout(base, problems, 0)
    reward = own.reward(base, rollouts)
    bare = without_reasoning(base, rollouts)

    def mean_probability(ids: list[int], size: int) -> float:
        at = range(len(ids) - size, len(ids))
        return sum(math.exp(own_logp(base, ids[: t + 1], t)) for t in at) / size

    for r in range(6):
        size = int(rollouts.answers[r].sum())
        without = mean_probability(bare.tokens(r // 3), size)
        expected = mean_probability(rollouts.rows.tokens(r), size) - without
        assert float(reward[r]) == pytest.approx(min(max(expected, 0.0), 1.0), abs=1e-4)
        assert decode(base.tokenizer, bare.tokens(r // 3)[-size:]) == problems[r // 3].reference
    own.memory["spread"] = 100.0
    assert not own.advantage(rollouts, reward).any(), "all spreads are below the half of their running mean"
    assert own.memory["spread"] == pytest.approx(
        99.0 + 0.01 * float(reward.unflatten(0, (2, 3)).std(1, correction=0).mean())
    )


def test_latro_pays_log_likelihood_less_the_distance_from_the_first_model(recorder, base):
    problems = WORLD.problems("rl", 0, 2, "known")
    own = task("latro", recorder, problems)
    own.start(base)
    rollouts = own.rollout(base, problems, 0)
    reward = own.reward(base, rollouts)
    assert torch.allclose(reward, own.logp.sum(1), atol=1e-4), "the first model is no distance from itself"
    moved = base.snapshot()
    with torch.no_grad():
        moved.model.get_output_embeddings().weight.mul_(1.1)
    own.start(moved)
    gap = (own.reward(base, rollouts) - reward) / -0.05
    for r in range(6):
        chosen = rollouts.rows.action_mask[r].nonzero()[:, 0].tolist()
        ids, start = rollouts.rows.ids[r, : chosen[-1] + 1].tolist(), chosen[0]
        expected = own_logp(base, ids, start) - own_logp(moved, ids, start)
        assert float(gap[r]) == pytest.approx(expected, abs=2e-2)
    rows, advantage = own.select(rollouts, torch.zeros(rollouts.rows.ids.shape))
    assert (advantage[rollouts.answers] == 1).all() and rows.action_mask[rollouts.answers].all()


def test_every_method_takes_its_reward_where_it_is_told_to():
    assert task_class("policy_gradient", "tests") is METHODS["policy_gradient"]
    assert task_class("policy_gradient", "likelihood").reward is AnswerQuestions.reward
    assert task_class("rlpr", "likelihood") is METHODS["rlpr"]
    kind = task_class("sar", "likelihood")
    assert kind.rollout is AnswerQuestions.rollout and kind.reward is METHODS["sar"].reward


def test_questions_without_tests_are_trained_on_and_refused_where_tests_are_needed(tmp_path):
    file = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{i}", "prompt": p.prompt, "cue": p.cue, "reference": p.reference, "stop": list(p.stop)}
        for i, p in enumerate(WORLD.problems("rl", 0, 4, "known"))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load(file)[1].reference == rows[1]["reference"] and load(file)[1].tests == ()
    words = ["rlvr", "likelihood", "--rlvr.problems", str(file), "--rlvr.steps", "2", "--rlvr.batch-problems", "2"]
    words += ["--rlvr.samples", "3", "--rlvr.method", "gspo", "--rlvr.epochs", "2", "--run.threads", "1"]
    assert main([*words, "--run.out", str(tmp_path), "--run.name", "x"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "x/metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["reward"] < 1 and line["grad_norm"] > 0 for line in lines) and len(lines) == 2
    roles = [json.loads(line)["tokens"] for line in (tmp_path / "x/rollouts.jsonl").read_text().splitlines()]
    assert all({token["role"] for token in own} == {"context", "latent", "expert"} for own in roles)


@pytest.mark.parametrize(("reward", "what"), [("tests", "no tests"), ("likelihood", "no reference")])
def test_problems_that_lack_what_they_are_judged_by_are_refused(tmp_path, reward, what):
    file = tmp_path / "one.jsonl"
    only = {"tests": [{"stdin": "", "stdout": "1"}]} if reward == "likelihood" else {"reference": " 1"}
    file.write_text(json.dumps({"id": "q", "prompt": "x", **only}))
    with pytest.raises(UserError, match=f"1 of its 1 problems have {what}"):
        load_rl_problems(Config(rlvr=RlvrSettings(problems=str(file), reward=reward)))
    if reward == "tests":
        with pytest.raises(UserError, match=what):
            load_eval_problems(Config(eval=EvalSettings(problems=str(file))))


def test_a_problem_needs_tests_or_a_reference():
    with pytest.raises(UserError, match="no tests"):
        Problem("q", "x", None, ())
    assert Problem("q", "x", None, (), reference=" 1").cue == "\nAnswer:"
