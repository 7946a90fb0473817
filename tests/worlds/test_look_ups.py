"""The world of look-ups: its transcripts are what the tools give, its answers right, and its habits do not all pay."""

from __future__ import annotations

from ra3.environments import Environment
from ra3.grading.grade import grade
from ra3.sandbox import Sandbox
from ra3.worlds.look_ups import FAMOUS, LARGEST, LEVELS, page, world

OBSERVED = "<information>", "<output>", "<error>"


def test_tools_give_what_stands_behind_the_calls_of_a_careful_author_and_the_answer_passes():
    problems = [problem for band in world.bands for problem in world.problems("eval", 0, 4, band)]
    with Sandbox(1) as sandbox:
        environment = Environment(sandbox.run)
        environment.reset(problems)
        for episode, problem in enumerate(problems):
            people, thing = problem.meta["intention"].split()[1:], problem.prompt.split()[2]
            numbers = []
            for person in people:
                came = environment.step({episode: f"\n<search>{person} {thing}</search>"})[episode]
                assert came.startswith(f"\n<information>{person} has ") and came.endswith(f" {thing}.</information>")
                numbers.append(int(came.split()[2]))
            program = f"<python>print({' + '.join(map(str, numbers))})</python>"
            came = environment.step({episode: program})[episode]
            assert came == f"\n<output>{sum(numbers)}</output>" and sum(numbers) <= 3 * LARGEST
            (verdict,) = grade(sandbox, [(problem, f"\n<answer>{sum(numbers)}")])
            assert verdict.passed and problem.reference == str(sum(numbers))


def test_transcripts_of_the_expert_are_right_and_lines_of_tools_stand_behind_calls():
    for document in world.documents("expert", 0, 60):
        lines = document.text.splitlines()
        assert document.context == ""
        for before, line in zip(lines, lines[1:], strict=False):
            assert line.startswith(OBSERVED) == before.endswith(("</search>", "</python>"))
        for question in document.text.split("How many ")[1:]:
            told = [line.split() for line in question.splitlines() if line.startswith("<information>")]
            thing, answer = question.split()[0], int(question.split("<answer>")[1].split("<")[0])
            read = {words[0]: int(words[2]) for words in told if words[3].startswith(thing)}
            asked = question.partition("?")[0].replace(",", "").split()[2:]
            assert answer == sum(read[f"<information>{person}"] for person in asked if person != "and")


def test_habits_of_pretraining_do_not_all_pay_and_the_famous_have_the_same_on_every_page():
    known, right, asked = {}, 0, 0
    for seed in range(200):
        drawn = page(LEVELS["pretrain"], seed)
        facts = {(w[0], w[3]): int(w[2]) for w in (line.rstrip(".").split() for line in drawn.context.splitlines())}
        for place, number in facts.items():
            if place[0] in FAMOUS:
                assert known.setdefault(place, number) == number
        for exercise in drawn.exercises:
            *people, thing = exercise.chain
            asked += 1
            right += f"<answer>{sum(facts[person, thing] for person in people)}</answer>" in exercise.steps[-1]
    assert len(known) > 20 and 0.3 < right / asked < 0.7


def test_the_shipped_tokenizer_is_the_one_that_is_built_and_words_are_tokens():
    from transformers import AutoTokenizer

    own = world.tokenizer()
    assert AutoTokenizer.from_pretrained(world.model).get_vocab() == own.get_vocab()
    for document in world.documents("pretrain", 1, 50):
        ids = own.encode(document.text, add_special_tokens=False)
        assert own.decode(ids) == document.text and len(ids) < 400
        assert all(len(own.encode(word, add_special_tokens=False)) == 1 for word in ("<search>", "Ann", "33", "cups"))
