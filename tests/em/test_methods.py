"""Rivals of RA3: what each writes into the text and learns from, and that all of them train and go on after a stop."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace

import pytest
import torch
from conftest import passes
from test_midtrain import attempt, config, recorder, same_weights, trained

from ra3.compare.results import TRAINING
from ra3.em.annotate import annotate, resample
from ra3.em.by_place import PROPOSED, best_by_place
from ra3.em.methods import METHODS
from ra3.em.methods.branches import at_single_places
from ra3.em.methods.distilled import with_true_latents
from ra3.em.methods.mixed import mixed
from ra3.em.methods.rlp import one_random_place
from ra3.em.methods.rlpt import Segment, judge, segment, without_comments
from ra3.em.mstep import drop_latents, mean_of_each, mstep_batches, trained_tokens
from ra3.em.round import AnnotatedText, EMRound
from ra3.errors import UserError
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rollout.interleave import expert_rows, forced_steps
from ra3.rows import FULL, RowBuilder, Rows, build
from ra3.run.ledger import Ledger, by_kind, read_ledger
from ra3.worlds import WORLDS


def em_round(rec, policy, documents, method="ra3", number=0, **estep_changes) -> EMRound:
    own = config(method, **estep_changes)
    return EMRound(rec, policy, documents, own.midtrain, own.update, own.run.seed, number)


def imitated(method, em: EMRound) -> AnnotatedText:
    """The text that a method hands to its M-step, which does not take place."""
    seen = []

    @dataclass(frozen=True)
    class Watched(EMRound):
        def m_step(self, text, distil=False):
            seen.append(text)
            return self.pi

    method(Watched(**{f.name: getattr(em, f.name) for f in fields(em)}))
    return seen[0]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_trains_and_goes_on_after_a_stop(tmp_path, policy, documents, name):
    settings = config(name, rounds=2)
    whole, lines = trained(tmp_path / "whole", policy, documents, settings)
    assert same_weights(whole, policy) == (name == "rlpt")  # which never meets a segment with random weights
    while (result := attempt(tmp_path / "parts", policy, documents, settings, steps=3)) is None:
        pass
    assert same_weights(whole, result)
    assert (tmp_path / "parts" / "run" / "metrics.jsonl").read_text().splitlines() == lines
    costs = by_kind(read_ledger(tmp_path / "whole" / "run"))
    assert {kind for (kind, _), spent in costs.items() if spent.flops} <= set(TRAINING)  # all is paid in training


def test_distilled_text_is_the_expert_text_with_its_true_intentions(policy, documents):
    rows, plain = with_true_latents(em_round(None, policy, documents), range(8)).rows, expert_rows(policy, documents)
    bare = drop_latents(rows, 1.0, seed=0)
    assert [bare.tokens(r) for r in range(8)] == [plain.tokens(r) for r in range(8)]
    for r, document in enumerate(documents):
        truth = document.document.truth
        latent = rows.latent[r]
        written = policy.tokenizer.decode(rows.ids[r][latent].tolist()).splitlines()
        assert [line.strip() for line in written if line.strip()] == [comment.strip() for comment in truth.comments]
        assert sorted(set(rows.step[r][latent].tolist())) == list(truth.boundaries)


def test_text_without_truth_is_refused(policy, documents):
    nameless = replace(documents[0], document=replace(documents[0].document, truth=None))
    em = em_round(None, policy, [nameless])
    with pytest.raises(UserError, match="true latents"):
        with_true_latents(em, [0])
    assert len(with_true_latents(em, []).rows) == 1


def test_mixed_text_is_half_and_half_and_the_other_half_next_time(policy, documents):
    commented = [imitated(mixed, em_round(None, policy, documents, "mixed", n)).rows.latent.any(1) for n in (0, 1)]
    assert int(commented[0].sum()) == 4
    assert torch.equal(commented[0], ~commented[1])


def test_bootstrapping_is_ra3_without_reinforcement(tmp_path, policy, documents):
    plain = config("ra3", updates=0, think_floor=None)
    bootstrapped, _ = trained(tmp_path / "bootstrap", policy, documents, config("bootstrap"))
    with recorder(tmp_path / "ra3", plain) as rec:
        em = EMRound(rec, policy, documents, plain.midtrain, plain.update, plain.run.seed)
        best = em.m_step(em.annotate(em.e_step(), latents="best"))
        rec.run.close()
    assert same_weights(bootstrapped, best)


def test_hindsight_writes_in_what_pays_by_the_lines_that_follow(policy, documents):
    written = {}
    for price in (0.0, 0.05, 100.0):
        em = em_round(None, policy, documents, "hindsight", switch_penalty=price, horizon=2)
        own = em.settings.estep, em.update, em.seed, em.em_round
        written[price] = best_by_place(policy, policy, documents, *own, Ledger())
    assert int(written[0.0].latent.any(1).sum()) > 0 and not written[100.0].latent.any()
    rows, plain = written[0.05], expert_rows(policy, documents)
    assert [drop_latents(rows, 1.0, seed=0).tokens(r) for r in range(8)] == [plain.tokens(r) for r in range(8)]
    for r, document in enumerate(documents):
        places = rows.step[r][rows.latent[r]].unique().tolist()
        assert len(places) <= math.ceil(PROPOSED * sum(map(bool, document.openings)))
        for t in places:
            latent = rows.ids[r][rows.latent[r] & (rows.step[r] == t)].tolist()
            assert gain_of(policy, document.upto(t + 2), t, latent) > 0.05


def test_branches_leave_their_document_where_a_comment_stands(policy, documents):
    em = em_round(None, policy, documents, "branches", horizon=2)
    rows, size = em_text(em, "branches"), em.settings.estep.group_size
    plain = expert_rows(policy, documents)
    assert [rows.tokens(d) for d in range(8)] == [plain.tokens(d) for d in range(8)]
    assert len(rows) > 8 and rows.group[:8].tolist() == list(range(8))
    places = {d: set() for d in range(8)}
    for r in range(8, len(rows)):
        document, ids = documents[int(rows.group[r])], rows.tokens(r)
        trained = trained_tokens(rows)[r].nonzero()[:, 0].tolist()
        first = (r - 8) % size == 0  # of a place: learns to think there; behind that token all learn words and steps
        start = trained[0] - (not first)
        before = [policy.start_ids, document.context_ids, *document.step_ids]
        t = next(t for t in range(len(document.step_ids)) if sum(map(len, before[: 2 + t])) == start)
        assert ids[:start] == [i for part in before[: 2 + t] for i in part]
        assert ids[start] == policy.syntax.think_ids[document.openings[t].think]
        lines = [i for step in forced_steps(document, policy.end_id)[t : t + 2] for i in step]
        assert ids[-len(lines) :] == lines and trained == list(range(start + (not first), len(ids)))
        places[int(rows.group[r])].add(t)
    assert len(rows) - 8 == size * sum(map(len, places.values()))
    assert torch.equal(trained_tokens(rows)[:8, : plain.ids.shape[1]], trained_tokens(plain))
    assert torch.equal(drop_latents(rows, 1.0, seed=0).ids, rows.ids)  # without its comment a branch is its document
    assert {r for batch in mstep_batches(rows, em.settings.mstep, 0)[:2] for r in batch} == set(range(len(rows)))
    for batch in mstep_batches(rows, em.settings.mstep, 0):  # a document comes with all of its branches
        assert all(set((rows.group == g).nonzero()[:, 0].tolist()) <= set(batch) for g in rows.group[batch].tolist())


def test_documents_and_branches_weigh_the_same_however_many_there_are():
    trained = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    weights = mean_of_each(trained, torch.tensor([False, True, True, True]))
    assert weights.allclose(trained * torch.tensor([[1 / 3], [1 / 5], [1 / 5], [1 / 5]], dtype=torch.float64))
    assert mean_of_each(trained, torch.zeros(4, dtype=torch.bool)).allclose(trained / torch.tensor(8.0).double())


def test_branches_are_reinforced_one_by_one_from_the_second_round_on(tmp_path, policy, documents):
    with recorder(tmp_path / "a", config("branches")) as rec:
        em = em_round(rec, policy, documents, "branches", number=1, horizon=2)
        places, alone = em.likeliest_places(), at_single_places(em).documents
        rec.run.close()
    for document, own, place in zip(documents, alone, places, strict=True):
        assert own.step_ids == document.step_ids[place : place + 2]
        assert list(own.openings) == [*document.openings[place : place + 1], None][: len(own.openings)]
    _, lines = trained(tmp_path / "b", policy, documents, config("branches", rounds=2))
    metrics = [json.loads(line) for line in lines]
    assert [(m["stage"], m["round"]) for m in metrics if m["step"] == 0] == [("mstep", 0), ("estep", 1), ("mstep", 1)]
    assert all(0.2 < m["think_rate"] < 0.8 for m in metrics if m["stage"] == "estep")


def test_branches_are_read_once_and_scored_as_if_alone(policy, documents):
    rows = em_text(em_round(None, policy, documents[:3], "branches", horizon=2), "branches")
    (packed,) = passes(rows, 10**6)
    apart = [len(rows.tokens(d)) for d in range(3)]
    for r in range(3, len(rows)):
        own, trunk = rows.tokens(r), rows.tokens(int(rows.group[r]))
        apart.append(len(own) - next(n for n, (a, b) in enumerate(zip(own, trunk, strict=False)) if a != b))
    assert len(packed.ids) == sum(apart) < 0.5 * int(rows.length.sum())
    wanted = trained_tokens(rows)
    together = score(policy, rows, wanted, 10**6).logp
    for r in range(len(rows)):
        alone = score(policy, rows.select([r]), wanted[r : r + 1], 10**6).logp
        assert (alone[0] - together[r]).abs().max() < 1e-5


def em_text(em: EMRound, latents) -> Rows:
    """The rows that an annotation writes."""
    return annotate(em.pi, em.pi, em.documents, em.settings, em.update, em.seed, latents=latents)


def gain_of(policy, document, t, latent) -> float:
    """Nats that the steps from t on gain by a latent before them, from the model's own logits."""
    before = [*policy.start_ids, *document.context_ids, *(i for step in document.step_ids[:t] for i in step)]
    ahead = [i for step in forced_steps(document, policy.end_id)[t:] for i in step]

    def log_probabilities(prefix):
        ids = torch.tensor([[*prefix, *ahead]])
        with torch.no_grad():
            logp = policy.model(ids).logits[0].log_softmax(-1)[len(prefix) - 1 : -1]
        return logp[0], float(logp.gather(1, torch.tensor(ahead)[:, None]).sum())

    first, act = log_probabilities(before)
    opener = policy.syntax.think_ids[document.openings[t].think]
    return log_probabilities([*before, *latent])[1] - act + float(torch.log1p(-first[opener].exp()))


def test_resampling_follows_the_weights():
    reward = torch.tensor([[1.0, 3.0]]).log().expand(4, 2)
    assert resample(reward, torch.tensor([0.0, 0.24, 0.26, 1.0])).tolist() == [0, 0, 1, 1]
    assert resample(torch.tensor([[-900.0, -1000.0]]), torch.tensor([0.99])).tolist() == [0]


def test_brite_thinks_once_where_the_model_is_most_inclined_to(tmp_path, policy, documents):
    with recorder(tmp_path, config("brite")) as rec:
        places = em_round(rec, policy, documents, "brite").likeliest_places()
        rec.run.close()
    ids = torch.tensor([[*policy.start_ids, *documents[0].context_ids, *(i for s in documents[0].step_ids for i in s)]])
    with torch.no_grad():
        inclined = policy.model(ids).logits[0].softmax(-1)
    allowed, at = [], len(documents[0].context_ids)
    for step, opening in zip(documents[0].step_ids, documents[0].openings, strict=True):
        allowed.append(float(inclined[at, policy.syntax.think_ids[opening.think]]) if opening else -1.0)
        at += len(step)
    assert places[0] == max(range(len(allowed)), key=allowed.__getitem__)
    with recorder(tmp_path, config("brite")) as rec:
        rows = imitated(METHODS["brite"], em_round(rec, policy, documents, "brite", updates=0)).rows
        rec.run.close()
    assert [set(rows.step[r][rows.latent[r]].tolist()) for r in range(8)] == [{place} for place in places]


def test_rlp_pays_the_next_step_after_one_thought_and_has_no_m_step(tmp_path, policy, documents):
    short = one_random_place(documents[0], seed=3)
    assert sum(map(bool, short.openings)) == 1 and short.openings[-1] and short.cut
    assert {len(one_random_place(documents[0], n).step_ids) for n in range(40)} > {1, 2}
    _, lines = trained(tmp_path, policy, documents, config("rlp"))
    metrics = [json.loads(line) for line in lines]
    assert {m["stage"] for m in metrics} == {"estep"} and {m["think_rate"] for m in metrics} == {1.0}


def test_rlpt_learns_from_a_model_that_meets_some_segments(tmp_path, documents):
    base = Policy.load(WORLDS["functions"].model, "pretrained", torch.float32, torch.device("cpu"), 0)
    settings = config("rlpt", updates=4, think_floor=None, horizon=3, group_size=8)
    learned, lines = trained(tmp_path, base, documents, settings)
    metrics = [json.loads(line) for line in lines]
    assert 0 < sum(m["reward"] for m in metrics) < 4 and {m["stage"] for m in metrics} == {"estep"}
    assert not same_weights(learned, base)


def test_what_was_written_is_the_code_without_the_comments():
    assert without_comments("# go\nx\ny", 1) == ("x\n", 7)
    assert without_comments("x\n  # so\ny\nz", 2) == ("x\ny\n", 11)
    assert without_comments("x = 1", 3) == ("x = 1", 5)
    assert without_comments("# a note\n") == ("", 9)


def test_rlpt_pays_the_segment_met_to_the_character(policy, documents):
    wanted = segment(policy, documents[0], 2, seed=4)
    assert wanted.text in documents[0].document.text and wanted.text.count("\n") <= 2
    encode = policy.tokenizer
    texts = ["# so\n" + wanted.text + "more\n", wanted.text.replace("\n", " \n")]
    builders = []
    for text in texts:
        row = RowBuilder.start(0, [*policy.start_ids, *wanted.prefix])
        for token in encode(text, add_special_tokens=False)["input_ids"]:
            row.append(token, 0, FULL, -1.0, -1.0)
        builders.append(row)
    rows, reward = judge(policy, build(builders), [wanted], 2)
    assert reward.tolist() == [1.0, 0.0]
    acted = encode.decode(rows.ids[0][rows.action_mask[0]].tolist())
    assert acted == "# so\n" + wanted.text


@pytest.mark.parametrize("wanted", ["# a note\nx = 1\n", "x = 1", "y = 'é'\n# so\nx = '→'\n"])
def test_a_copy_of_a_segment_meets_it_whatever_it_holds(policy, wanted):
    ids = policy.tokenizer(wanted, add_special_tokens=False)["input_ids"]
    more = policy.tokenizer("\nz = 2\n", add_special_tokens=False)["input_ids"]
    row = RowBuilder.start(0, policy.start_ids)
    for token in [*ids, *more]:
        row.append(token, 0, FULL, -1.0, -1.0)
    rows, reward = judge(policy, build([row]), [Segment([], wanted, len(ids))], 1)
    assert reward.tolist() == [1.0] and "z" not in policy.tokenizer.decode(rows.ids[0][rows.action_mask[0]].tolist())
