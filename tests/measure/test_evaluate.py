"""Evaluation: hand-computed result rows, the shipped base model through the real sandbox, and held-out measures."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from ra3.commands.inputs import load_eval_problems
from ra3.compare.tables import HELDOUT
from ra3.config.settings import Config, EvalSettings, UpdateSettings
from ra3.data.latents import encode_all, remove
from ra3.errors import UserError
from ra3.evaluate import answers_of, refuse_bounds_far_apart
from ra3.grading.grade import Grader, Verdict, grade
from ra3.measure import counterfactuals as probes
from ra3.measure.counterfactuals import Place, block, code_changes, places, some_of
from ra3.measure.heldout import annotated_codes, durations, measure_heldout
from ra3.measure.pass_at_k import (
    Answer,
    latent_is_right,
    measure_answers,
    pack,
    paired_differences,
    pass_scores,
    problem_counts,
    reach_curves,
    unpack,
)
from ra3.model.policy import Policy
from ra3.rl.credit import Boundaries
from ra3.rl.solve import attempted
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import LatentRules, interleave
from ra3.rollout.programs import before_stop, completions, encode_prompts, write_programs
from ra3.run.ledger import Ledger
from ra3.run.results import ProblemCount, Results, result_tables
from ra3.sandbox import Sandbox
from ra3.worlds import WORLDS
from ra3.worlds.functions import world

SETTINGS = EvalSettings(samples=4, per_band=12, k=(1, 2), max_new_tokens=64)


@pytest.fixture(scope="module")
def base():
    return Policy.load(WORLDS["functions"].model, "pretrained", torch.float32, torch.device("cpu"), 0)


def sampled_answers(base, problems, sandbox, seed):
    written = attempted(Ledger(), base, problems, sandbox, SETTINGS, seed, "eval")
    asked = [problem for problem in problems for _ in range(SETTINGS.samples)]
    return answers_of(zip(asked, written.completions, strict=True), written.verdicts)


@pytest.fixture(scope="module")
def answers(base):
    problems = [p for band in world.bands for p in world.problems("eval", 123, 60, band)]
    with Sandbox(1) as sandbox:
        return sampled_answers(base, problems, sandbox, seed=5)


def counts(passed, judged=4, model="m"):
    return [ProblemCount(model, "b", str(i), judged, c) for i, c in enumerate(passed)]


def test_pass_rows_by_hand():
    scores = {score.metric: score for score in pass_scores("m", counts([0, 2, 4]), SETTINGS.k, 0)}
    assert scores["pass@1"].mean == pytest.approx((0 + 0.5 + 1) / 3)
    assert scores["pass@2"].mean == pytest.approx((0 + (1 - 1 / 6) + 1) / 3)
    assert scores["pass@1"].low <= scores["pass@1"].mean <= scores["pass@1"].high


def test_a_problem_with_too_few_judged_samples_has_no_pass_at_k():
    scores = {score.metric: score for score in pass_scores("m", counts([1], 1) + counts([4]), SETTINGS.k, 0)}
    assert scores["pass@1"].problems == 2 and scores["pass@2"].problems == 1


def test_what_no_sandbox_could_judge_is_left_out():
    problem = world.problems("eval", 0, 1, "known")[0]
    verdicts = [Verdict(True, "passed", 0.0), Verdict(None, "infra", 0.0), Verdict(False, "wrong_answer", 0.0)]
    (row,) = problem_counts("m", [Answer(problem, "", verdict) for verdict in verdicts])
    assert (row.judged, row.passed) == (2, 1)


@pytest.mark.parametrize(
    ("verdicts", "mean", "most", "text"),
    [
        ((True, None, None, None), 0.25, 1.0, "25.0 [25.0, 100.0]; at least; at most 100.0, 3 without a verdict"),
        ((None, None), 0.0, 1.0, "0.0 [0.0, 100.0]; at least; at most 100.0, 2 without a verdict"),
        ((False, None, True, True), 0.5, 0.75, "50.0 [50.0, 75.0]; at least; at most 75.0, 1 without a verdict"),
        ((False, True), 0.5, None, "50.0"),
    ],
)
def test_what_has_no_verdict_never_raises_a_score_and_makes_it_a_bound(verdicts, mean, most, text):
    problem = world.problems("eval", 0, 1, "known")[0]
    reasons = {True: "passed", False: "wrong_answer", None: "infra"}
    answers = [Answer(problem, "", Verdict(passed, reasons[passed], 0.0)) for passed in verdicts]
    results = measure_answers("m", answers, EvalSettings(samples=1, k=(1,)), 0)
    (score,) = results.scores
    assert (score.mean, score.unjudged) == (mean, verdicts.count(None))
    assert score.most == most if most is not None else score.most != score.most
    assert score.high >= (most or mean) and score.samples == len(verdicts)
    assert str(result_tables([score])[0].rows[0][1]) == text
    assert [point.mean for point in results.curves["pass_by_chain"]] == [mean]
    again, refused = Results.from_json(results.to_json())
    assert refused == 0 and again.scores[0].unjudged == score.unjudged


@pytest.mark.parametrize(("unjudged", "samples"), [(3, 4), (1, 1), (2, 164), (11, 1000)])
def test_a_score_that_lacks_many_verdicts_is_refused(unjudged, samples):
    with pytest.raises(UserError, match=f"{unjudged} of {samples} programs could not be judged"):
        refuse_bounds_far_apart(unjudged, samples)
    refuse_bounds_far_apart(samples // 100, samples)


def test_problems_without_every_verdict_are_in_no_difference():
    lacking = ProblemCount("b", "b", "1", 3, 3, {"passed": 3, "infra": 1})
    (row,) = paired_differences(counts([4, 0], model="a"), [*counts([2], model="b"), lacking], 0)
    assert row.mean == pytest.approx(0.5)


def test_differences_are_paired_by_problem():
    (row,) = paired_differences(counts([4, 2, 2], model="a"), counts([2, 0, 0], model="b"), 0)
    assert (row.a, row.b) == ("a", "b")
    assert row.mean == row.low == row.high == pytest.approx(0.5)


def test_stop_strings_end_a_completion():
    assert before_stop("    return x\ndef ba(x):\n", ("\ndef ",)) == "    return x\n"
    assert before_stop("abcXdefY", ("Y", "X")) == "abc"
    assert before_stop("abc", ("\ndef ",)) == "abc"


def test_prompts_are_tokenised_as_documents_are(base):
    problem = world.problems("eval", 0, 1, "edge")[0]
    (ids,) = encode_prompts(base, [problem])
    assert base.tokenizer.decode(ids) == problem.prompt.rstrip()
    rows = generate(base, [ids], 2, SamplingParams(20), [1, 2])
    for r, (text, _) in enumerate(completions(base, rows, ())):
        assert base.tokenizer.decode(rows.tokens(r)[1:]).removeprefix(problem.prompt.rstrip()).startswith(text)


def test_the_shipped_base_is_a_careless_but_able_writer(answers):
    """It thinks at 20-80% of the places, rightly on the chain lengths it was trained on, and solves < 40% of edge."""
    known = [a for a in answers if a.problem.meta["chain_length"] <= 3]
    thought = [a for a in known if a.completion.lstrip().startswith("#")]
    assert 0.2 < len(thought) / len(known) < 0.8
    assert sum(map(latent_is_right, thought)) / len(thought) >= 0.95
    passed = {band: [bool(a.verdict.passed) for a in answers if a.problem.band == band] for band in world.bands}
    assert sum(passed["edge"]) / len(passed["edge"]) < 0.4 < sum(passed["known"]) / len(passed["known"])


def test_a_right_intention_is_followed(answers):
    thought = [a for a in answers if a.problem.band == "known" and latent_is_right(a)]
    assert sum(bool(a.verdict.passed) for a in thought) / len(thought) > 0.9


def test_evaluate_reports_rows_counts_and_curves(base):
    with Sandbox(1) as sandbox:
        problems = world.problems("eval", 9, 4, "known")
        answers = sampled_answers(base, problems, sandbox, seed=0)
    assert unpack(pack(answers), problems) == answers
    results = measure_answers("base", answers, SETTINGS, 0)
    assert {score.metric for score in results.scores} == {"pass@1", "pass@2"}
    assert len(results.problems) == 4
    assert {point.x for point in results.curves["pass_by_chain"]} <= {1, 2}


@pytest.fixture(scope="module")
def pages(base):
    return encode_all(base.syntax, world.documents("pretrain", 77, 12))[0]


def test_a_swapped_intention_is_another_one_of_its_document(base, pages):
    rows = interleave(base, pages, 1, LatentRules(16), list(range(12)))
    found = [(p.before, p.own, p.other) for p in places(base, rows) if p.other]
    assert found
    for before, own, other in found:
        row = next(rows.tokens(r) for r in range(12) if rows.tokens(r)[1 : 1 + len(before + own)] == before + own)
        assert own != other and base.tokenizer.decode(own).lstrip().startswith("#")
        assert base.tokenizer.decode(other).split("\n")[0] in base.tokenizer.decode(row)


def test_the_code_follows_a_swapped_intention(base, pages):
    rows = interleave(base, pages, 1, LatentRules(16), list(range(12)))
    swapped, deleted = code_changes(base, rows)
    assert len(swapped) >= 4 and sum(swapped) / len(swapped) > 0.5  # the base writes some that say nothing, too
    assert len(deleted) == len(places(base, rows)) and 0 < sum(deleted) < len(deleted)


def test_probes_do_not_depend_on_how_many_tokens_are_written_first(base, pages, monkeypatch):
    rows = interleave(base, pages, 1, LatentRules(16), list(range(12)))
    expected = code_changes(base, rows)
    for first in (1, 5, 64):
        monkeypatch.setattr(probes, "FIRST_TOKENS", first)
        assert code_changes(base, rows) == expected


def test_programs_are_graded_while_others_are_written(base):
    """The same texts and verdicts in the same order as one after the other, from more batches than one. Half of the
    problems have no stop strings: each ends by its own."""

    class Counting(Sandbox):
        def stream(self, jobs, deadline_s=None):
            batches.append(len(jobs))
            return super().stream(jobs, deadline_s)

    batches: list[int] = []
    problems, rules = [p for band in world.bands for p in world.problems("eval", 9, 8, band)], SamplingParams(64)
    problems = [replace(problem, stop=problem.stop if i % 2 else ()) for i, problem in enumerate(problems)]
    stops = [problem.stop for problem in problems]
    with Counting(2) as sandbox:
        with Grader(sandbox) as grader:
            done = write_programs(base, problems, 4, rules, list(range(4 * len(problems))), grader)
            found = done.verdicts
        together = list(batches)
        rows = generate(base, encode_prompts(base, problems), 4, rules, list(range(4 * len(problems))), stops=stops)
        whole = [completions(base, rows.select([r]), stops[r // 4])[0] for r in range(len(rows))]
        texts = [completion.behind(problems[r // 4].prompt).program for r, completion in enumerate(whole)]
        verdicts = grade(sandbox, [(problems[r // 4], text) for r, text in enumerate(texts)])
    assert len(together) > 1 and sum(together) == batches[-1], "equal programs run once"
    assert torch.equal(done.rows.ids, rows.ids) and torch.equal(done.rows.logp, rows.logp)
    assert [completion.program for completion in done.completions] == texts
    assert any("\ndef " in text for text in texts[:4]) and not any("\ndef " in text for text in texts[4:8])
    assert [(v.passed, v.reason) for v in found] == [(v.passed, v.reason) for v in verdicts]


def test_a_completion_does_not_begin_with_what_is_forbidden(base):
    """At the head of a function of a long chain the base opens a comment at some of 40 tries; forbidden, at none."""
    (prompt,) = encode_prompts(base, world.problems("eval", 9, 1, "known"))
    prompt += base.tokenizer("\n    #", add_special_tokens=False)["input_ids"][:1]  # on to the first line's text
    think = base.syntax.think_ids
    for rules, opened in ((SamplingParams(1), True), (SamplingParams(1, not_first=think), False)):
        rows = generate(base, [prompt], 40, rules, list(range(40)))
        assert any({*think} & {*rows.tokens(r)[1 + len(prompt) :]} for r in range(40)) is opened
    greedy = generate(base, [prompt], 1, SamplingParams(1, 0.0, not_first=think), [0])
    assert not {*think} & {*greedy.tokens(0)[1 + len(prompt) :]}


def test_a_block_ends_where_indentation_or_a_comment_says_so():
    assert block("    y = 1\n    return y\ndef f():\n    pass\n") == "    y = 1\n    return y\n"
    assert block("    for v in x:\n        s += v\n\n    return s\n# ba\n") == (
        "    for v in x:\n        s += v\n\n    return s\n"
    )
    assert block("") == "" and block("x = 1\ny = 2\n") == "x = 1\ny = 2\n"


def test_heldout_measures_know_the_truth(base, pages):
    results = measure_heldout("m", base, pages, 16, UpdateSettings(), 0)
    rows = {score.metric: score.mean for score in results.scores}
    gain = {point.x: point.mean for point in results.curves["latent_gain_by_chain"]}
    assert set(gain) <= {1, 2, 3} and max(gain.values()) > 0.5  # nats
    assert set(HELDOUT) <= set(rows)  # what a comparison's table shows
    assert rows["comments_right"] >= 0.9
    assert 0 < rows["boundary_recall"] < 1 and rows["boundary_precision"] > 0.5
    assert rows["nll_per_token_given_latents"] > 0
    assert 0 < rows["swap_changes_code"] <= 1 and 0 < rows["delete_changes_code"] <= 1
    assert rows["duration"] >= 1 and 0 < rows["discount_per_intention"] <= 0.95
    texts = {page.id: page.document.text for page in pages}
    written = [bool(code.latents) for code in results.codes]
    assert len(written) == len(pages) and any(written) and written == sorted(written, reverse=True)
    for code in results.codes:
        assert remove(code.text, code.latents) == texts[code.document]
        assert len(code.gains) == len(code.latents)
    assert sum(gain > 1 for code in results.codes for gain in code.gains) > 5, "intentions save bits in this world"


def test_an_intention_saves_the_bits_of_the_lines_up_to_the_next_one(base, pages):
    """One bit saved on every line: each intention saves as many bits as it has lines."""
    rows = interleave(base, pages, 1, LatentRules(16), list(range(12)))
    boundaries = Boundaries.of(rows, base.spaces)
    codes = annotated_codes("m", base, pages, rows, torch.full(boundaries.think.shape, math.log(2)))
    found = {code.document: code for code in codes}
    assert any(code.gains for code in codes)
    for r, page in enumerate(pages):
        lines = durations(boundaries.think[r : r + 1], boundaries.exists[r : r + 1])
        assert found[page.id].gains == pytest.approx(lines)


def test_what_the_careless_base_writes_says_something_about_the_operation(base):
    expert = encode_all(base.syntax, world.documents("expert", 77, 24))[0]
    rows = {score.metric: score.mean for score in measure_heldout("m", base, expert, 16, UpdateSettings(), 0).scores}
    assert rows["latent_information"] > 0.2 and 0 < rows["latent_information_share"] < rows["boundary_recall"]


def test_an_intention_lasts_until_the_next_one_or_the_end():
    """5 steps with intentions at 1 and 3: 2 steps each; 4 steps with one at 0: 4; none: none."""
    think = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    exists = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    assert durations(think, exists) == [2, 2, 4]


def test_pass_at_k_is_reported_for_every_doubling():
    """Two problems of 4 samples, 0 and 1 right: pass@1 1/8, pass@2 1/4, pass@4 1/2."""
    counts = [ProblemCount("m", "edge", str(c), 4, c) for c in (0, 1)]
    (points,) = reach_curves("m", counts, 0).values()
    assert [(p.x, p.mean) for p in points] == [(1, 0.125), (2, 0.25), (4, 0.5)]


def test_of_long_documents_some_latents_are_tried_evenly_spread():
    found = [Place([0] * 1000, [n], None) for n in range(100)]
    tried = [place.own[0] for place in some_of(found)]
    assert len(tried) == 32 and max(b - a for a, b in zip(tried, tried[1:], strict=False)) <= 4
    assert some_of(found[:10]) == found[:10]


def test_of_a_file_all_problems_are_taken_unless_fewer_are_asked_for(tmp_path):
    row = {"prompt": "def f(x):\n", "entry_point": "f", "tests": [{"args": [1], "expected": 1}]}
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps({"id": f"p{i}", **row}) + "\n" for i in range(150)))
    for given, count in (({}, 150), ({"per_band": 7}, 7)):
        own = EvalSettings(problems=str(file), **given)
        assert len(load_eval_problems(Config(eval=own)).problems) == count
