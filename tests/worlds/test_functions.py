"""The embedded world: its text is right Python, its truth is true, splits are disjoint, the tokenizer loses nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ra3.data.documents import BadRow
from ra3.data.latents import LatentSyntax, encode
from ra3.data.steps import split
from ra3.seeds import derive
from ra3.worlds import WORLDS
from ra3.worlds.functions import BY_NAME, NAMES, NEW, OLD, OPERATIONS, _argument, body, world
from ra3.worlds.word_problems import world as word_problems

TOKENIZER = world.tokenizer()
WORDS = (*NAMES, *BY_NAME)
LISTS = [[], [0], [3, -1, 3, 0], [-9, -9], [8, 1, -4, 2, 2, 9, 7], list(range(-9, 10))]


def functions(source: str) -> dict:
    """What the source defines. It comes from the generator, never from a model."""
    namespace: dict = {}
    exec(compile(source, "<generated>", "exec"), namespace)
    return namespace


def solution(problem) -> str:
    """The problem's prompt with the idiom it asks for."""
    return problem.prompt + "".join(body(problem.meta["op"]))


def test_seeds_are_63_bits_and_depend_on_every_part():
    seeds = {derive(seed, *parts) for seed in (0, 1) for parts in ((), ("a",), ("a", 1), ("a1",), ("a", "1"))}
    assert len(seeds) == 10
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_idiom_computes_its_operation(operation):
    run = functions("def f(x):\n" + "".join(body(operation.name)))["f"]
    for values in LISTS:
        assert run(list(values)) == operation.run(list(values))


def test_operations_are_told_apart_by_the_lists_problems_draw():
    rng = random.Random(0)
    inputs = [_argument(rng, number) for number in range(40)]
    results = {repr([operation.run(list(values)) for values in inputs]) for operation in OPERATIONS}
    assert len(results) == len(OPERATIONS)


def test_many_idioms_share_their_first_lines():
    opening = [body(name)[:2] for name in BY_NAME]
    assert sum(opening.count(lines) > 1 for lines in opening) >= len(BY_NAME) / 2


@pytest.mark.parametrize("kind", ["pretrain", "expert"])
def test_documents_are_the_same_from_the_same_seed(kind):
    assert world.documents(kind, 3, 20) == world.documents(kind, 3, 30)[:20]
    assert {d.text for d in world.documents(kind, 3, 20)}.isdisjoint(d.text for d in world.documents(kind, 4, 20))


def test_problems_are_the_same_from_the_same_seed_and_no_split_repeats_another():
    drawn = {split: world.problems(split, 0, 90) for split in ("rl", "eval")}
    assert drawn["eval"] == world.problems("eval", 0, 90)
    prompts = [problem.prompt for problems in drawn.values() for problem in problems]
    contexts = [d.context for kind in ("pretrain", "expert") for d in world.documents(kind, 0, 90)]
    assert len({*prompts, *contexts}) == len(prompts) + len(contexts)
    assert not any(prompt.startswith(context) for prompt in prompts for context in contexts)


@pytest.mark.parametrize("kind", ["pretrain", "expert"])
def test_every_function_of_a_document_does_what_its_chain_says(kind):
    for document in world.documents(kind, 0, 100):
        defined = functions(document.context + document.text)
        for chain in document.truth.chains:
            for values in LISTS:
                if kind == "expert" or chain[-1] in OLD:
                    assert defined[chain[0]](list(values)) == BY_NAME[chain[-1]].run(list(values))


@pytest.mark.parametrize("kind", ["pretrain", "expert"])
def test_boundaries_are_the_lines_behind_the_headers(kind):
    for document in world.documents(kind, 1, 50):
        steps = split(document)
        headers = [index for index, step in enumerate(steps) if step.text.startswith("def ")]
        assert list(document.truth.boundaries) == [index + 1 for index in headers]
        assert all(steps[index].may_think or steps[index].text.startswith("#") for index in document.truth.boundaries)


def test_pretraining_comments_ignore_the_chain_and_expert_text_has_none():
    commented, total = {}, {}
    for document in world.documents("pretrain", 0, 600):
        lines = document.text.splitlines(keepends=True)
        truth = document.truth
        for boundary, chain, comment in zip(truth.boundaries, truth.chains, truth.comments, strict=True):
            total[len(chain)] = total.get(len(chain), 0) + 1
            commented[len(chain)] = commented.get(len(chain), 0) + (lines[boundary] == f"    {comment}")
    shares = [commented[length] / total[length] for length in sorted(total)]
    assert max(shares) - min(shares) < 0.12
    assert all(0.2 < share < 0.8 for share in shares)
    assert not any("#" in document.text for document in world.documents("expert", 0, 100))


def test_pretraining_names_new_operations_and_shows_old_ones_in_their_place():
    documents, shown = world.documents("pretrain", 0, 600), {name: set() for name in BY_NAME}
    known = {body(name): name for name in BY_NAME}
    for document in documents:
        lines = [line for line in document.text.splitlines(keepends=True) if not line.lstrip().startswith("#")]
        starts = [n for n, line in enumerate(lines) if line.startswith("def ")]
        for chain, start, end in zip(document.truth.chains, starts, [*starts[1:], None], strict=True):
            shown[chain[-1]].add(known[tuple(lines[start + 1 : end])])
    assert all(shown[name] == {name} for name in OLD)
    assert all(len(shown[name]) > 8 and shown[name] <= set(OLD) for name in NEW)
    expert = world.documents("expert", 0, 300)
    assert {chain[-1] for document in expert for chain in document.truth.chains} == {*OLD, *NEW}


@pytest.mark.parametrize("band", world.bands)
def test_problems_are_solved_by_their_operation(band):
    for problem in world.problems("eval", 0, 60, band):
        run = functions(solution(problem))[problem.entry_point]
        assert all(run(*map(list, test.args)) == test.expected for test in problem.tests)
        assert () not in [test.args for test in problem.tests] and ([],) in [test.args for test in problem.tests]
        assert problem.meta["band"] == band
        assert len(problem.meta["intention"].split()) == problem.meta["chain_length"] + 2  # "#", names, operation
        assert problem.meta["chain_length"] in world.levels[band].lengths


def test_the_true_comment_follows_the_definitions_of_its_context():
    for problem in world.problems("eval", 2, 60):
        chain = problem.meta["intention"].removeprefix("# ").split()
        assert chain[-1] == problem.meta["op"]
        for name, value in zip(chain, chain[1:], strict=False):
            assert any(name in line and value in line.split(name, 1)[1] for line in problem.prompt.splitlines())


@pytest.mark.parametrize("world", [world, word_problems])
def test_unknown_splits_and_bands_are_refused(world):
    with pytest.raises(ValueError, match="documents come from"):
        world.documents("eval", 0, 1)
    with pytest.raises(ValueError, match="problems come from"):
        world.problems("expert", 0, 1)
    with pytest.raises(ValueError, match="band is one of"):
        world.problems("eval", 0, 1, "easy")


@settings(max_examples=300, deadline=None)
@given(
    st.text() | st.lists(st.sampled_from([*WORDS, "#", "\n", " ", "_", "0", "def ", "(x):", "\r", "é"])).map("".join)
)
@example("<|endoftext|> # ba\r\n\tba_ke 12\n\n")
@example("")
def test_the_tokenizer_loses_nothing(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


@given(st.sampled_from(WORDS), st.sampled_from(["", "#", "def", "\n", "ba"]), st.sampled_from('\n "(_#,'))
def test_names_operations_and_the_comment_mark_stand_alone(word, before, after):
    """The world writes every word behind a space, which belongs to its token."""
    assert len(TOKENIZER.encode(f" {word}", add_special_tokens=False)) == 1
    for text in (f" {word}", "#"):
        [alone] = TOKENIZER.encode(text, add_special_tokens=False)
        assert alone in TOKENIZER.encode(before + text + after, add_special_tokens=False)


def test_a_line_break_takes_the_indentation_along_and_documents_are_short():
    syntax = LatentSyntax.from_tokenizer(TOKENIZER)
    for document in world.documents("expert", 0, 50):
        encoded = encode(syntax, document)
        assert not isinstance(encoded, BadRow) and len(encoded) == 1 and all(encoded[0].openings)
        assert len(TOKENIZER.encode(document.context + document.text)) <= 320
    text = "(x):\n    y = []\n    for v in x:\n        y.append(v)\n"
    pieces = [TOKENIZER.decode([i]) for i in TOKENIZER.encode(text)]
    assert pieces[1:] == ["(x):", "\n   ", " y = []", "\n   ", " for v in x:", "\n       ", " y.append(v)", "\n"]


def test_the_shipped_model_is_a_standard_folder_that_fits_the_tokenizer():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = WORLDS["functions"].model
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM" and model.config.vocab_size == len(tokenizer)
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    assert 1e6 < sum(file.stat().st_size for file in folder.iterdir()) < 4.5e6
