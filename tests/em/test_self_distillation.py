"""Lines of branches are held to what the model says of them in their documents."""

from __future__ import annotations

from dataclasses import replace

import torch
from test_methods import em_round, em_text

from ra3.em.mstep import trained_tokens
from ra3.em.self_distillation import SaidWithoutComments
from ra3.model.update import forward_trunk
from ra3.rollout.interleave import forced_steps


def test_the_loss_is_the_cross_entropy_of_two_passes_of_the_model(policy, documents):
    """Rows read one by one by the library's own forward pass, without our packing."""
    rows = em_text(em_round(None, policy, documents[:3], "branches", horizon=2), "branches")
    said = SaidWithoutComments.of(policy, rows, 10**6)
    (tokens,) = forward_trunk(policy, rows, trained_tokens(rows), 10**6)
    expected = entropy = 0.0
    for r in range(3, len(rows)):
        document, ids = documents[int(rows.group[r])], rows.tokens(r)
        whole = rows.tokens(int(rows.group[r]))
        leaves = next(n for n, (a, b) in enumerate(zip(ids, whole, strict=False)) if a != b)
        steps = forced_steps(document, policy.end_id)
        start = len(policy.start_ids) + len(document.context_ids)
        t = next(t for t in range(len(steps)) if start + sum(map(len, steps[:t])) == leaves)
        lines = sum(map(len, steps[t : t + 2]))
        said_there = model_logits(policy, whole)[leaves - 1 : leaves - 1 + lines]
        said_there[0, policy.syntax.think_ids[document.openings[t].think]] = -torch.inf
        p, logp = said_there.softmax(-1), model_logits(policy, ids)[-1 - lines : -1].log_softmax(-1)
        expected -= float((p * logp).sum())
        entropy -= float(torch.xlogy(p, p).sum())
    ones = torch.ones(len(tokens.ids))
    found, half = (float(said.cross_entropy(policy, tokens, own).detach()) for own in (ones, ones / 2))
    assert abs(found - expected) < 1e-3 * expected and abs(half - expected / 2) < 1e-3 * expected
    assert expected > entropy
    in_lanes = SaidWithoutComments.of(replace(policy, lanes=2), rows, 10**6)
    assert torch.allclose(in_lanes.hidden, said.hidden, atol=1e-5)


def model_logits(policy, ids):
    """[T,V] logits of the model itself."""
    with torch.no_grad():
        return policy.model(torch.tensor([ids])).logits[0]
