"""The world of word problems: its solutions are right, its plans true, splits disjoint, and its base model whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from step_checks import places_of

from ra3.data.latents import annotate_text, encode_all, remove
from ra3.data.steps import split
from ra3.grading.derivation import facts_by_name, solution, verdict
from ra3.model.policy import Policy
from ra3.worlds import WORLDS
from ra3.worlds.word_problems import LARGEST, LEVELS, NAMES, NEW, OLD, world

TOKENIZER = world.tokenizer()


def facts_of(text: str):
    return facts_by_name(text.splitlines())


def chains_of(document):
    truth = document.truth
    return zip(truth.boundaries, truth.chains, truth.comments, strict=True)


def test_documents_and_problems_are_the_same_from_the_same_seed_and_no_split_repeats_another():
    texts = set()
    for kind in ("pretrain", "expert"):
        drawn = world.documents(kind, 3, 30)
        assert drawn[:20] == world.documents(kind, 3, 20)
        texts |= {d.context for d in drawn} | {d.context for d in world.documents(kind, 4, 30)}
    drawn = {split: world.problems(split, 3, 60) for split in ("rl", "eval")}
    assert drawn["eval"] == world.problems("eval", 3, 60)
    prompts = {p.prompt for problems in drawn.values() for p in problems}
    assert len(texts) == 120 and len(prompts) == 120
    assert not any(prompt.startswith(text) for prompt in prompts for text in texts)


@pytest.mark.parametrize("kind", ["pretrain", "expert"])
def test_every_solution_of_a_document_is_right_and_stands_behind_its_question(kind):
    for document in world.documents(kind, 0, 100):
        lines, facts = document.text.splitlines(keepends=True), facts_of(document.context)
        ends = [*(boundary - 1 for boundary in document.truth.boundaries[1:]), len(lines)]
        for (boundary, chain, _), end in zip(chains_of(document), ends, strict=True):
            assert lines[boundary - 1] == f"How many {chain[0]} are there?\n"
            assert verdict(solution(facts, chain[0]), "".join(lines[boundary:end])) == "passed"


def test_a_step_of_the_expert_is_a_sentence_and_each_may_have_an_intention():
    for document in world.documents("expert", 0, 100):
        steps = split(document, "sentence")
        assert [step.text for step in steps] == document.text.splitlines(keepends=True)
        assert all(step.may_think for step in steps)


def test_a_plan_goes_back_to_what_is_given_in_as_many_links_as_there_are_steps():
    for document in world.documents("expert", 2, 100):
        facts = facts_of(document.context)
        for _, chain, comment in chains_of(document):
            assert comment == f"# {' from '.join(chain)} from {facts[chain[-1]].number}.\n"
            assert [facts[name].base for name in chain] == [*chain[1:], ""]
            assert len(solution(facts, chain[0])) == len(chain) - 1


def test_at_later_steps_other_facts_build_on_the_last_quantity_too():
    facts = [facts_of(d.context) for d in world.documents("expert", 0, 100)]
    bases = [[fact.base for fact in own.values() if fact.base] for own in facts]
    assert sum(len(own) > len(set(own)) for own in bases) > 90


def test_numbers_are_small_and_every_relation_is_used():
    for kind, allowed in (("pretrain", OLD), ("expert", OLD + NEW)):
        used = set()
        for document in world.documents(kind, 0, 200):
            facts = facts_of(document.context)
            for chain in document.truth.chains:
                steps = solution(facts, chain[0])
                assert all(1 <= step.result <= LARGEST for step in steps)
                used |= {step.fact.relation for step in steps}
        assert used == set(allowed)
    contexts = "".join(document.context for document in world.documents("pretrain", 0, 200))
    assert all(words in contexts for words in ("tripled", "together", "less the"))  # mentioned, never worked out


def test_pretraining_plans_ignore_the_chain_and_expert_text_has_none():
    commented, total = {}, {}
    for document in world.documents("pretrain", 0, 600):
        lines = document.text.splitlines(keepends=True)
        for boundary, chain, comment in chains_of(document):
            total[len(chain)] = total.get(len(chain), 0) + 1
            commented[len(chain)] = commented.get(len(chain), 0) + (lines[boundary] == comment)
    shares = [commented[length] / total[length] for length in sorted(total)]
    assert max(shares) - min(shares) < 0.12 and all(0.2 < share < 0.8 for share in shares)
    assert not any("#" in document.text for document in world.documents("expert", 0, 100))


@pytest.mark.parametrize("band", world.bands)
def test_problems_are_solved_by_their_steps_and_the_answer_alone_is_not_paid(band):
    for problem in world.problems("eval", 0, 60, band):
        (test,) = problem.tests
        steps = solution(facts_by_name(test.facts), test.asked)
        answer = "".join(step.sentence for step in steps)
        assert problem.prompt == "".join(f"{fact}\n" for fact in test.facts) + f"How many {test.asked} are there?\n"
        assert verdict(steps, problem.meta["intention"] + "\n" + answer) == "passed"
        assert len(steps) == 1 or verdict(steps, steps[-1].sentence) == "wrong_step"
        assert problem.meta["band"] == band
        assert problem.meta["chain_length"] == len(steps) and len(steps) in LEVELS[band].lengths


def test_plans_are_written_in_and_taken_out_to_the_byte():
    for document in world.documents("expert", 5, 50):
        places = places_of(split(document, "sentence"))
        text, spans = annotate_text(document.text, {places[t]: comment for t, _, comment in chains_of(document)})
        assert text.count("#") == len(spans) == len(document.truth.boundaries)
        assert remove(text, spans) == document.text


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from([*NAMES, "#", "\n", " ", ".", ", so", "7", "12", "123", "é"])).map("".join))
@example("<|endoftext|># red cups\r\n\t1234 12\n\n")
@example("")
def test_the_tokenizer_loses_nothing(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


def test_sentences_tokenise_alone_as_they_do_together_and_words_and_numbers_are_one_token():
    for document in world.documents("expert", 0, 50):
        whole = document.context + document.text
        lines = [TOKENIZER.encode(line, add_special_tokens=False) for line in whole.splitlines(keepends=True)]
        assert sum(lines, []) == TOKENIZER.encode(whole, add_special_tokens=False)
        assert len(sum(lines, [])) <= 500
    for piece in (*(f" {name}" for name in NAMES), *(f" {number}" for number in range(LARGEST + 1)), "\n", "#"):
        assert len(TOKENIZER.encode(piece, add_special_tokens=False)) == 1


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_offers_the_same(name):
    its = WORLDS[name]
    problems = its.evaluation(1, 3)
    assert [p.meta["band"] for p in problems] == [band for band in its.bands for _ in range(3)]
    assert all(p.meta["intention"].startswith("# ") and p.meta["chain_length"] >= 1 for p in problems)
    assert len({p.stop for p in (*problems, *its.problems("rl", 1, 3, None))}) == 1
    policy = Policy.load(its.model, "pretrained", torch.float32, torch.device("cpu"), 0)
    assert policy.num_parameters <= 1_000_000
    assert 1e6 < sum(file.stat().st_size for file in its.model.iterdir()) < 3e6
    encoded, bad = encode_all(policy.syntax, its.documents("expert", 1, 10), its.steps)
    assert not bad
    for document in encoded:
        assert all(document.openings[t] for t in document.document.truth.boundaries)


def test_the_shipped_tokenizer_is_the_one_that_is_built():
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(WORLDS["word-problems"].model).get_vocab() == TOKENIZER.get_vocab()
