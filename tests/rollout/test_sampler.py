"""Sampling: rollouts hold exactly the document, scores equal those of training, rows do not depend on each other."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from conftest import make_policy
from torch.profiler import ProfilerActivity, profile

from ra3.data.tokens import decode
from ra3.model.action_spaces import decision_logps
from ra3.model.update import score
from ra3.rl.credit import Boundaries
from ra3.rollout import decoding
from ra3.rollout import interleave as interleaving
from ra3.rollout.decoding import MAX_RUNNING_ROWS, DecodeBatch, Uniforms, sample_ids
from ra3.rollout.generate import SamplingParams, generate
from ra3.rollout.interleave import LatentRules, expert_rows, forced_steps, interleave
from ra3.rows import CONTEXT
from ra3.run.ledger import watched_by

RULES = LatentRules(max_latent_tokens=4, think_floor=0.4)


@pytest.fixture(scope="module")
def rollouts(policy, documents):
    return interleave(policy, documents, 3, RULES, list(range(3 * len(documents))))


def test_removing_latents_gives_the_document_back(policy, documents, rollouts):
    for r in range(len(rollouts)):
        document = documents[r // 3]
        kept = rollouts.ids[r][rollouts.expert[r]].tolist()
        assert kept == [token for step in forced_steps(document, policy.end_id) for token in step]
        prompt = rollouts.ids[r][(rollouts.step[r] == CONTEXT) & rollouts.valid[r]].tolist()
        assert prompt == [*policy.start_ids, *document.context_ids]


def test_progress_is_of_the_experts_tokens(policy, documents):
    """All of them are done at the end and not before, however many comments were written and lines read twice."""
    told = []
    with watched_by(lambda work: told.append((work.done, work.total))):
        rows = interleave(policy, documents, 2, RULES, list(range(2 * len(documents))))
    expert = int(rows.expert.sum())
    assert told[-1] == (expert, expert) and all(done < total == expert for done, total in told[:-1])


def test_latents_are_comment_lines(policy, documents, rollouts):
    latents = rollouts.latent
    assert latents.any()
    for r in range(len(rollouts)):
        for t in rollouts.step[r][latents[r]].unique().tolist():
            ids = rollouts.ids[r][latents[r] & (rollouts.step[r] == t)].tolist()
            text = decode(policy.tokenizer, ids)
            place, document = documents[r // 3].places[t], documents[r // 3].document.text
            line = document[document.rfind("\n", 0, place) + 1 : place]  # white: the indentation of the step
            comment, newline, indentation = text.lstrip().partition("\n")
            assert comment.startswith("#") and len(comment) > 1 and newline and line.startswith(indentation)
            assert len(ids) <= RULES.max_latent_tokens + 2


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gemma"])
def test_sampling_and_scoring_agree(tmp_path, documents, architecture):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2} if architecture == "gpt2" else {}
    sizes |= {"head_dim": 16} if architecture == "gemma" else {}
    policy = make_policy(tmp_path, architecture, **sizes)
    rows = interleave(policy, documents, 2, RULES, list(range(2 * len(documents))))
    scored = rows.expert | rows.action_mask
    scores = score(policy, rows, scored, max_tokens=300)
    assert (rows.logp - scores.logp)[scored].abs().max() < 1e-5
    choice = rows.words
    assert (rows.logp_old - scores.logp_action)[choice].abs().max() < 1e-5


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral", "olmo2"])
def test_the_library_warns_of_nothing_that_goes(tmp_path, documents, architecture):
    """Its warnings of names that go in a later version are lines of its log, which pytest does not see."""
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("transformers").addHandler(handler)
    try:
        policy = make_policy(tmp_path, architecture, **({"sliding_window": None} if architecture == "mistral" else {}))
        rows = interleave(policy, documents[:2], 1, RULES, [0, 1])
        with policy.activation_checkpointing(True):
            score(policy, rows, rows.expert, max_tokens=300)
        policy.save(tmp_path / "saved")
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert [line for line in said if "deprecat" in line or "will be removed" in line] == []


def test_free_generation_and_scoring_agree(policy, documents):
    prompts = [list(d.context_ids) for d in documents]
    rows = generate(policy, prompts, 4, SamplingParams(20, temperature=0.7), list(range(32)))
    scores = score(policy, rows, rows.action_mask, 500, temperature=0.7)
    assert (rows.logp_old - scores.logp_action)[rows.action_mask].abs().max() < 1e-5
    assert (rows.logp - scores.logp)[rows.action_mask].abs().max() < 1e-5


@torch.no_grad()
def test_in_bfloat16_weights_are_cast_once_and_keys_are_kept_in_it(policy, documents, monkeypatch):
    """The tokens are those of passes that cast anew each time; what is kept takes half the memory."""
    half, prompts = replace(policy, dtype=torch.bfloat16), [documents[0].context_ids, documents[1].context_ids]
    params, seeds = SamplingParams(8), list(range(6))
    with profile(activities=[ProfilerActivity.CPU]) as once:
        rows = generate(half, prompts, 3, params, seeds)
    monkeypatch.setattr(type(half), "gathered", lambda self: nullcontext())
    with profile(activities=[ProfilerActivity.CPU]) as each:
        again = generate(half, prompts, 3, params, seeds)
    assert (rows.ids == again.ids).all() and (rows.logp == again.logp).all()
    casts = [sum(e.count for e in run.key_averages() if e.key == "aten::_to_copy") for run in (once, each)]
    matrices = sum(type(module) is torch.nn.Linear for module in half.model.modules())
    passes = 8  # of the prompts, and of seven tokens; the head is asked eight times
    assert casts[1] - casts[0] == (passes - 1) * matrices
    batch = DecodeBatch(half, prompts, 3)
    batch.running()
    assert {layer.states.dtype for layer in batch.cache.layers} == {torch.bfloat16}
    scored = score(half, rows, rows.action_mask, 4096).logp
    assert (scored - rows.logp)[rows.action_mask].abs().max() < 0.05


@torch.no_grad()
def test_the_cache_has_room_for_what_follows_a_prompt(policy, documents):
    """Reading on moves nothing: memory that is copied has to be written twice."""
    batch = DecodeBatch(policy, [document.context_ids for document in documents[:2]], 2)
    rows, places = batch.running(), [layer.states.data_ptr() for layer in batch.cache.layers]
    batch.read(rows, [5] * len(rows), [1] * len(rows))
    assert [layer.states.data_ptr() for layer in batch.cache.layers] == places


def test_rollouts_do_not_depend_on_their_batch(policy, documents):
    seeds = list(range(len(documents)))
    together = interleave(policy, documents, 1, RULES, seeds)
    for i, document in enumerate(documents):
        alone = interleave(policy, [document], 1, RULES, [seeds[i]])
        assert alone.tokens(0) == together.tokens(i)


def test_generation_does_not_depend_on_its_batch(policy, documents):
    prompts = [list(d.context_ids) for d in documents]
    together = generate(policy, prompts, 1, SamplingParams(12), list(range(8)))
    assert [together.tokens(i) for i in range(8)] == [
        generate(policy, [p], 1, SamplingParams(12), [i]).tokens(0) for i, p in enumerate(prompts)
    ]


def test_rows_that_wait_take_the_places_of_those_that_end(policy, documents):
    """Five samples of each prompt, so that a prompt's samples are started at different times."""
    prompts = [list(d.context_ids) for d in documents]
    prompts[1] = [*prompts[1], *documents[1].step_ids[0]]
    seeds = list(range(5 * len(prompts)))
    everyone = generate(policy, prompts, 5, SamplingParams(30), seeds)
    assert not everyone.finished.all() and everyone.finished.any(), "the rows must end at different times"
    for at_once in (1, 2, 7, 16):
        some = generate(policy, prompts, 5, SamplingParams(30), seeds, at_once)
        assert torch.equal(some.ids, everyone.ids) and torch.equal(some.finished, everyone.finished)
        assert (some.logp - everyone.logp).abs().max() < 1e-5


def test_rollouts_do_not_depend_on_who_waits(policy, documents, rollouts, monkeypatch):
    monkeypatch.setitem(MAX_RUNNING_ROWS, "cpu", 4)
    assert torch.equal(interleave(policy, documents, 3, RULES, list(range(3 * len(documents)))).ids, rollouts.ids)


def test_prompts_that_are_too_many_for_a_pass_are_read_in_several(policy, documents, monkeypatch):
    prompts, passes, read = [list(d.context_ids) for d in documents], [], DecodeBatch.read
    whole_tokens = sum(len(policy.start_ids) + len(prompt) for prompt in prompts)
    whole = generate(policy, prompts, 2, SamplingParams(12), list(range(16)))
    monkeypatch.setattr(decoding, "PREFIX_TOKENS", 2 * len(prompts[0]))
    monkeypatch.setattr(DecodeBatch, "read", lambda *own: passes.append(sum(own[3])) or read(*own))
    parts = generate(policy, prompts, 2, SamplingParams(12), list(range(16)))
    reading = [tokens for tokens in passes if tokens > 16]  # 16 rows decode a token each
    assert len(reading) >= 3 and sum(reading) == whole_tokens and torch.equal(parts.ids, whole.ids)
    assert max(reading) <= 2 * len(prompts[0]) + 1 + max(map(len, prompts))


@pytest.mark.parametrize("floor", [0.0, 0.4])
def test_reading_ahead_changes_nothing(policy, documents, monkeypatch, floor):
    rules, seeds, passes = LatentRules(4, think_floor=floor), list(range(3 * len(documents))), []
    for worth in (2.0, 0.0):  # never, and always as far as a chunk goes
        monkeypatch.setattr(interleaving, "MIN_ACT_PROBABILITY", worth)
        read = DecodeBatch.read
        counted = []
        monkeypatch.setattr(
            DecodeBatch, "read", lambda *args, read=read, counted=counted: counted.append(1) or read(*args)
        )
        passes.append((interleave(policy, documents, 3, rules, seeds), counted))
        monkeypatch.setattr(DecodeBatch, "read", read)
    (plain, often), (ahead, seldom) = passes
    assert len(seldom) < len(often)
    for name in ("ids", "step", "action_mask", "action_space", "expert", "length", "finished"):
        assert torch.equal(getattr(plain, name), getattr(ahead, name))
    for name in ("logp", "logp_old", "importance"):
        assert (getattr(plain, name) - getattr(ahead, name)).abs().max() < 1e-5


def test_generation_matches_the_librarys_greedy_decoding(policy, documents):
    prompts = [[*policy.start_ids, *d.context_ids] for d in documents]
    rows = generate(policy, [p[1:] for p in prompts], 1, SamplingParams(10, temperature=0), [0] * 8)
    for i, prompt in enumerate(prompts):
        peer = policy.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=10, do_sample=False
        )
        assert rows.tokens(i) == peer[0].tolist()


def test_generation_stops_at_the_stop_string(policy, documents):
    rows = generate(
        policy, [list(documents[0].context_ids)], 16, SamplingParams(40), list(range(16)), stops=[("e",)]
    )
    for r in range(16):
        texts = [policy.token_text(t) for t in rows.ids[r][rows.action_mask[r]].tolist()]
        assert all("e" not in text for text in texts[:-1])
        assert bool(rows.finished[r]) == ("e" in texts[-1] or rows.tokens(r)[-1] == policy.end_id)


def test_without_thinking_a_rollout_is_the_document(policy, documents):
    rows = interleave(policy, documents, 1, LatentRules(4, think=False), [0] * len(documents))
    plain = expert_rows(policy, documents)
    assert torch.equal(rows.ids, plain.ids) and torch.equal(rows.step, plain.step)
    assert not rows.action_mask.any()


def test_decision_frequency_matches_its_probability(policy, documents):
    document = documents[0]
    rows = interleave(policy, [document], 400, LatentRules(1, think_floor=0.0), list(range(400)))
    first = next(t for t, opening in enumerate(document.openings) if opening)
    thinks = Boundaries.of(rows, policy.spaces).think[:, first].float().mean()
    before = [*policy.start_ids, *document.context_ids, *(i for s in document.step_ids[:first] for i in s)]
    logits = policy.model(torch.tensor([before])).logits[:, -1]
    think_id = policy.spaces.think_ids[document.openings[first].think]
    probability = decision_logps(logits, think_id[None])[0, 0].exp().item()
    assert abs(thinks - probability) < 4 * (probability * (1 - probability) / 400) ** 0.5 + 1e-3


def test_the_floor_is_corrected_by_importance_weights(rollouts):
    """policy probability = importance * behaviour probability, the floor being 0.4."""
    decided = rollouts.decisions
    weighted = rollouts.logp_old.exp() / rollouts.importance
    assert torch.allclose(weighted[decided & ~rollouts.expert], torch.tensor(0.4))
    assert torch.allclose(weighted[decided & rollouts.expert], torch.tensor(0.6))
    assert (rollouts.importance[~decided] == 1).all()


def test_sampling_inverts_the_distribution():
    logits = torch.log(torch.tensor([[0.2, 0.0, 0.5, 0.3]])).repeat(4, 1)
    uniform = torch.tensor([0.0, 0.1999, 0.2001, 0.99999])
    assert sample_ids(logits, uniform).tolist() == [0, 0, 2, 3]


def test_sampling_never_returns_an_impossible_token():
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]]).repeat(1000, 1)
    ids = sample_ids(logits, torch.linspace(0, 1 - 1e-7, 1000))
    assert set(ids.tolist()) == {0, 2}


def test_uniforms_are_streams_of_their_rows():
    draws, again = Uniforms([5, 6], 4), Uniforms([6], 4)
    assert draws.next([0, 1])[1] == again.next([0])[0]
    assert draws.next([1])[0] == again.next([0])[0]
