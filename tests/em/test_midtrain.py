"""The limits that RA3 must have, and restarts.

c = inf is NTP, one latent and horizon 1 is BRiTE, kill + resume = uninterrupted.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
import torch
from conftest import make_policy, raise_think_logit
from rich.console import Console

from ra3.config.settings import Config, EstepSettings, MidtrainSettings, MstepSettings, UpdateSettings
from ra3.data.documents import Document
from ra3.data.latents import encode_all
from ra3.em.estep import EStep, copy_rates, num_updates, repeats
from ra3.em.mstep import drop_latents
from ra3.midtrain import midtrain
from ra3.model.update import score
from ra3.rl.credit import estep_credit
from ra3.rl.loop import reinforce
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.rows import COMMENT, DECISION, RowBuilder, build
from ra3.run.display import Display
from ra3.run.folder import Run
from ra3.run.recorder import Recorder

TINY_E = {"updates": 3, "documents": 4, "group_size": 3, "max_latent_tokens": 3, "think_floor": (0.3, 3)}


def config(method="ra3", seed=0, rounds=1, start="pi", latent_dropout=0.0, **estep_changes):
    return Config().model_copy(
        update={
            "run": Config().run.model_copy(update={"seed": seed}),
            "midtrain": MidtrainSettings(
                method=method,
                em_rounds=rounds,
                estep=EstepSettings(**{**TINY_E, **estep_changes}),
                mstep=MstepSettings(epochs=2, batch_documents=4, start=start, latent_dropout=latent_dropout),
            ),
        }
    )


def recorder(folder, settings, every_s=1e9):
    run = Run.create(folder, "run", settings.model_dump(mode="json"), "midtrain", resume=True)
    return Recorder(run, Display(run, Console(file=io.StringIO())), every_s)


def midtrained(rec, policy, documents, settings):
    return midtrain(rec, policy, documents, settings.midtrain, settings.update, settings.run.seed)


def trained(folder, policy, documents, settings):
    with recorder(folder, settings) as rec:
        result = midtrained(rec, policy, documents, settings)
        rec.run.close()
    return result, (folder / "run" / "metrics.jsonl").read_text().splitlines()


def weights(policy):
    return policy.model.state_dict()


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.mark.parametrize("start", ["pi", "q"])
def test_infinite_penalty_is_next_token_prediction(tmp_path, policy, documents, start):
    ntp, ntp_lines = trained(tmp_path / "ntp", policy, documents, config("ntp", start=start))
    ra3, ra3_lines = trained(tmp_path / "ra3", policy, documents, config("ra3", start=start, switch_penalty=math.inf))
    assert same_weights(ntp, ra3)
    assert [line for line in ra3_lines if '"mstep"' in line] == ntp_lines
    assert not same_weights(ntp, policy)


def test_latents_change_the_m_step(tmp_path, policy, documents):
    ntp, _ = trained(tmp_path / "ntp", policy, documents, config("ntp"))
    ra3, _ = trained(tmp_path / "ra3", policy, documents, config("ra3"))
    assert not same_weights(ntp, ra3)


def test_one_latent_and_horizon_one_is_the_one_shot_form(policy):
    """BRiTE (arXiv 2501.18858): one latent before the whole text, reward log p(text | latent)."""
    text = "    y = []\n    return y\n"
    (encoded,) = encode_all(policy.syntax, [Document("d", text, "def ba(x):\n")])[0]
    whole = tuple(token for step in encoded.step_ids for token in step)
    document = replace(encoded, step_ids=(whole,), openings=encoded.openings[:1], places=(4,), cut=True)
    rows = interleave(policy, [document], 16, LatentRules(3, think_floor=0.5), list(range(16)))
    credit = estep_credit(
        rows,
        policy.spaces,
        score(policy, rows, rows.expert, 10_000),
        EstepSettings(horizon=1, group_size=16, format_penalty=0.0),
        penalty=0.0,
    )
    for r in range(16):
        ids = torch.tensor(rows.tokens(r))
        logp = policy.model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
        total = logp[-len(whole) :].sum()
        if not bool(rows.latent[r].any()):
            first = policy.model(ids[None]).logits[0, -len(whole) - 1].log_softmax(-1)
            total -= torch.log1p(-first[policy.syntax.think_ids[document.openings[0].think]].exp())
        assert credit.returns[r, 0].item() == pytest.approx(total.item(), abs=1e-4)
        assert credit.returns.shape == (16, 1)


def test_the_e_step_drops_what_does_not_pay(tmp_path, documents):
    """With a price on thinking and nothing to gain, the think rate falls."""
    policy = make_policy(tmp_path / "model", tie_word_embeddings=False)
    raise_think_logit(policy, [*policy.start_ids, *documents[0].context_ids], by=20)
    settings = EstepSettings(
        updates=10, documents=4, group_size=8, switch_penalty=3.0, max_latent_tokens=2, learning_rate=3e-3
    )
    with recorder(tmp_path, config()) as rec:
        reinforce(rec, policy.snapshot(), EStep(rec, policy, documents, settings, UpdateSettings(), seed=0))
        rec.run.close()
    rates = [json.loads(line)["think_rate"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rates[0] > 0.02 and rates[-1] < rates[0] / 2


def test_the_reward_comes_from_the_frozen_policy(tmp_path, policy, documents):
    """A first update that ruins q does not touch the likelihood by which the second update's rollouts are judged."""
    with recorder(tmp_path, config()) as rec:
        settings = EstepSettings(**TINY_E).model_copy(update={"updates": 2, "learning_rate": 0.3})
        q = reinforce(rec, policy.snapshot(), EStep(rec, policy, documents, settings, UpdateSettings(), seed=0))
        rec.run.close()
    second = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])
    assert abs(second["expert_nll"] - second["expert_nll_act"]) < 0.2
    rows = interleave(policy, documents, 1, LatentRules(3), list(range(len(documents))))
    ruined, own = (score(p, rows, rows.expert, 10_000).logp[rows.expert].mean() for p in (q, policy))
    assert own - ruined > 1, "the test has no power"


@pytest.mark.parametrize("rounds", [1, 2])
def test_stopping_and_resuming_changes_nothing(tmp_path, policy, documents, rounds):
    settings = config(rounds=rounds)
    whole, lines = trained(tmp_path / "whole", policy, documents, settings)
    stops = 0
    while (result := attempt(tmp_path / "parts", policy, documents, settings, steps=2)) is None:
        stops += 1
    assert stops >= 4 * rounds
    assert same_weights(whole, result)
    assert (tmp_path / "parts" / "run" / "metrics.jsonl").read_text().splitlines() == lines


def attempt(folder, policy, documents, settings, steps):
    """One process: the result, or None if it died while it logged its `steps`-th step, before that step was saved."""
    rec = recorder(folder, settings, every_s=0)
    log, seen = rec.log, []

    def dying_log(*arguments):
        log(*arguments)
        seen.append(arguments)
        if len(seen) == steps:
            raise KeyboardInterrupt

    rec.log = dying_log
    try:
        with rec:
            return midtrained(rec, policy, documents, settings)
    except KeyboardInterrupt:
        return None
    finally:
        rec.run.close()


def test_latent_dropout_takes_out_whole_intentions_and_nothing_else(policy, documents):
    rows = interleave(policy, documents, 1, LatentRules(4, think_floor=0.5), list(range(8)))
    fewer = drop_latents(rows, 0.5, seed=3)
    plain = expert_rows(policy, documents)
    assert 0 < fewer.latent.sum() < rows.latent.sum()
    for r in range(len(rows)):
        kept, had = (x.step[r][x.latent[r]].tolist() for x in (fewer, rows))
        assert kept == [t for t in had if t in set(kept)]  # an intention stays whole or goes
        expert = fewer.ids[r][fewer.valid[r] & ~fewer.latent[r]].tolist()
        assert expert == plain.tokens(r)
    none = drop_latents(rows, 1.0, seed=3)
    assert [none.tokens(r) for r in range(8)] == [plain.tokens(r) for r in range(8)]


def test_latent_dropout_spares_the_last_round(tmp_path, policy, documents):
    dropping, keeping = config("ra3", latent_dropout=0.9), config("ra3")
    models = [trained(tmp_path / str(n), policy, documents, own)[0] for n, own in enumerate((dropping, keeping))]
    assert same_weights(*models)


def test_the_price_grows_from_round_to_round(tmp_path, policy, documents):
    settings = config("ra3", rounds=2, switch_penalty=0.25, penalty_growth=3.0)
    _, lines = trained(tmp_path, policy, documents, settings)
    prices = {m["round"]: m["switch_penalty"] for m in map(json.loads, lines) if m["stage"] == "estep"}
    assert prices == {0: 0.25, 1: 0.75}


def test_copy_rate_counts_repeated_lines(policy, documents):
    assert repeats([5, 6, 7, 8, 9], [1, 5, 6, 7, 8]) and not repeats([5, 6, 7, 8, 9], [5, 6, 7, 1, 8, 9])
    assert not repeats([], [1, 2])
    rows = interleave(policy, documents, 2, LatentRules(4, think_floor=0.9), list(range(16)))
    found = copy_rates(policy, rows, documents, 2)
    assert 0 <= found["copy_rate"] < 0.5 and 0 <= found["echo_rate"] < 0.5


@pytest.mark.parametrize(("back", "rates"), [(0, (1.0, 0.0)), (1, (0.0, 1.0))])
def test_a_comment_that_says_what_stands_beside_it_is_counted(policy, documents, back, rates):
    """The one comment of a document says `def NAME`, before that line or after it."""
    document = documents[0]
    line = next(t for t, step in enumerate(document.step_ids) if t and policy.tokenizer.decode(step).startswith("def"))
    row = RowBuilder.start(0, [*policy.start_ids, *document.context_ids])
    for t, step in enumerate(document.step_ids):
        if t == line + back:
            row.append(policy.syntax.think_ids[0], t, DECISION, 0.0, 0.0)
            for token in [*document.step_ids[line][:-1], policy.syntax.break_ids[0]]:
                row.append(token, t, COMMENT, 0.0, 0.0)
        row.force(step, t, [0.0] * len(step))
    found = copy_rates(policy, build([row]), documents, 1)
    assert (found["copy_rate"], found["echo_rate"]) == rates


@pytest.mark.parametrize(
    ("updates", "documents", "expected"), [(None, 950, 24), (None, 24, 8), (5, 950, 5), (0, 24, 0)]
)
def test_the_estep_reads_a_share_of_the_documents(updates, documents, expected):
    assert num_updates(EstepSettings(updates=updates, documents=4, group_size=4), documents) == expected
