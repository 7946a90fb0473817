"""Questions whose answers no prompt holds: they are looked up and worked out by calls of tools.

A page is a corpus of facts, which is searched and not read, and some questions with the calls that answer them::

    Ann has 17 cups.                                      facts, among others
    Bob has 12 cups.
    How many cups have Ann and Bob?                       text: the question names whose things are counted ...
    # Ann Bob                                             ... the intention: who has to be looked up ...
    <search>Ann cups</search>                             ... and the calls, each with what came back
    <information>Ann has 17 cups.</information>
    <search>Bob cups</search>
    <information>Bob has 12 cups.</information>
    <python>print(17 + 12)</python>
    <output>29</output>
    <answer>29</answer>

People of ``FAMOUS`` have the same on every page, so that a model can know it. Authors of pre-training have habits: most
of them do not pay, so that reinforcement has something to choose among. A search now and then finds a wrong fact, and
all but the lazy search again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from ra3.grading.problem_tests import AnswerTest
from ra3.seeds import derive
from ra3.worlds.word_problems import THINGS
from ra3.worlds.world import Chain, Exercise, Level, Page, World, word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PEOPLE = (
    "Ann", "Bob", "Eve", "Tom", "Sue", "Max", "Lea", "Ben", "Amy", "Dan", "Ian", "Joy", "Kim", "Leo", "Mia", "Ned",
    "Pam", "Ray", "Sam", "Ted", "Uma", "Val", "Wes", "Zoe",
)  # fmt: skip
FAMOUS = PEOPLE[:4]
LARGEST = 33
"""Of the number of things of a person: three of them are at most 99, one token."""
WRONG_FINDS = 0.15
HABITS = ("careful", "careful", "careful", "guessing", "guessing", "lazy", "lazy", "mental", "mental", "slipping")
"""Of authors: all is looked up and worked out; nothing is; only the first is looked up; the sum is guessed; the first
program is no Python, and the second is the right one."""
USELESS = ("# look\n", "# next\n")
LEVELS = {
    "pretrain": Level((1, 1, 2, 2, 2), HABITS, (1, 3), unused=(3, 5), commented=0.2, useless=0.0),
    "expert": Level((1, 2, 3), ("careful",), (2, 4), unused=(3, 5)),
    "known": Level((1,), ("careful",), (1, 1), unused=(3, 5)),
    "edge": Level((2,), ("careful",), (1, 1), unused=(3, 5)),
    "hard": Level((3,), ("careful",), (1, 1), unused=(3, 5)),
}


def page(level: Level, seed: int) -> Page:
    """Draw the page that a seed makes at a level; its context is the corpus."""
    rng = random.Random(seed)
    lengths = [rng.choice(level.lengths) for _ in range(rng.randint(*level.exercises))]
    chains = [(*rng.sample(PEOPLE, length), rng.choice(THINGS)) for length in lengths]
    asked = [(person, chain[-1]) for chain in chains for person in chain[:-1]]
    others = [(rng.choice(PEOPLE), rng.choice(THINGS)) for _ in range(rng.randint(*level.unused))]
    facts = {place: number(rng, *place) for place in dict.fromkeys([*asked, *others])}
    order = rng.sample(sorted(facts), len(facts))
    commented = [rng.random() < level.commented for _ in chains]
    exercises = (
        Exercise(question(chain), chain, f"# {' '.join(chain[:-1])}\n", _steps(rng, level, chain, facts), written)
        for chain, written in zip(chains, commented, strict=True)
    )
    return Page("".join(sentence(place, facts) for place in order), tuple(exercises), derive(seed, "rest"))


Facts = dict[tuple[str, str], int]
"""{(person, thing): how many}"""


def number(rng: random.Random, person: str, thing: str) -> int:
    """Draw how many things a person has; of the famous it is the same on every page."""
    own = random.Random(derive(0, "famous", person, thing)) if person in FAMOUS else rng
    return own.randint(2, LARGEST)


def sentence(place: tuple[str, str], facts: Facts) -> str:
    """Write a fact: ``"Ann has 17 cups.\\n"``."""
    return f"{place[0]} has {facts[place]} {place[1]}.\n"


def question(chain: Chain) -> str:
    """Write the line that asks how many things the people of a chain have together."""
    *people, last, thing = chain
    return f"How many {thing} have {', '.join(people)} and {last}?\n" if people else f"How many {thing} has {last}?\n"


def _steps(rng: random.Random, level: Level, chain: Chain, facts: Facts) -> tuple[str, ...]:
    """Write what stands behind a question as an author with one of the level's habits does."""
    *people, thing = chain
    habit, lines, read = rng.choice(level.kinds), list[str](), list[int]()
    for person in people[: {"guessing": 0, "lazy": 1}.get(habit)]:
        found = [(person, thing)]
        others = sorted(facts.keys() - found) or found
        while rng.random() < WRONG_FINDS:
            found.insert(0, rng.choice(others))
        for place in found[:1] if habit == "lazy" else found:
            told = sentence(place, facts).rstrip()
            lines += [f"<search>{person} {thing}</search>\n", f"<information>{told}</information>\n"]
            number = facts[place]
        read.append(number)
    answer = read[0] if habit == "lazy" or len(people) == len(read) == 1 else rng.randint(2, 99)
    if len(read) > 1 and habit != "mental":
        answer, program = sum(read), " + ".join(map(str, read))
        if habit == "slipping":
            lines += [f"<python>print({program} + )</python>\n", "<error>syntax</error>\n"]
        lines += [f"<python>print({program})</python>\n", f"<output>{answer}</output>\n"]
    return ("".join([*lines, f"<answer>{answer}</answer>\n", "\n"]),)  # one step, which an empty line ends


def task(drawn: Page) -> tuple[None, tuple[AnswerTest, ...], dict[str, Any]]:
    """Ask for the number of a page's question, with one fact for each search."""
    return None, (AnswerTest(answer(drawn)[1]),), {"max_documents": 1}


def answer(drawn: Page) -> tuple[str, str]:
    """Give what stands before the number, and the number: ``("<answer>", "29")``."""
    chain, corpus = drawn.exercises[0].chain, drawn.context.splitlines()
    told = {(words[0], words[-1].rstrip(".")): int(words[2]) for words in map(str.split, corpus)}
    return "<answer>", str(sum(told[person, chain[-1]] for person in chain[:-1]))


def tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: tags, names, things, numbers up to 99, ``#`` and punctuation stand alone."""
    words = "|".join((*PEOPLE, *THINGS))
    alone = rf"</?[a-z]+>|[#\n.?()]|(?<![0-9])[0-9]{{1,2}}(?![0-9])|(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])"
    numbers = [f"({n} + {n}\n<output>{n}</output>" for n in range(100)]
    people = [f"{question((name, name, name, THINGS[0]))}# {name} {name}\n<search>{name} {name}" for name in PEOPLE]
    things = [f"{question((PEOPLE[0], thing))}<search>Ann {thing}</search>\n" for thing in THINGS]
    lines = [
        question((PEOPLE[0], THINGS[0])),
        "<information>Ann has 2 cups.</information>\n",
        "<error>syntax</error>\n",
    ]
    more = ["<python>print(1 + )</python>\n", "<answer>1</answer>\n", "<summary>Ann has 2 cups.</summary>\n"]
    return word_tokenizer(alone, (*numbers, *people, *things, *lines, *more, *USELESS))


world = World(
    name="look-ups", first_name="look-ups", levels=LEVELS, steps="sentence", stop="</answer>", useless=USELESS,
    page=page, task=task, tokenizer=tokenizer, answer=answer, tools=("python", "search"),
)  # fmt: skip
