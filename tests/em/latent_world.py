"""A world whose latents can all be written out: two steps, before each `act`, a comment of one word that ends by
itself, or one of two, after which the end is forced.

That is 3 x 3 latent sequences, so every expectation over rollouts, and over groups of rollouts, is a finite sum. The
gradient of any policy loss is a linear combination of the gradients of log q of the K acted tokens of those 9 rows.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from conftest import make_policy, raise_logits
from torch import Tensor

from ra3.config.settings import EstepSettings
from ra3.data.documents import BadRow, Document
from ra3.data.latents import EncodedDocument, encode
from ra3.model.action_spaces import TokenScores, token_scores
from ra3.model.policy import Policy
from ra3.model.update import forward_trunk, score
from ra3.rl.credit import Boundaries, Credit, estep_credit
from ra3.rollout.interleave import LatentRules, forced_steps, interleave
from ra3.rows import COMMENT, DECISION, WORD, RowBuilder, Rows, build

ALPHA, NUM_LATENTS, C, G, SEQUENCES = 0.6, 2, 0.3, 3, 9
RULES = LatentRules(max_latent_tokens=2)


@dataclass
class LatentWorld:
    """The latent policy q, the frozen pi that rewards it, a document, and all its latent sequences as rows."""

    q: Policy
    pi: Policy
    document: EncodedDocument
    rows: Rows
    """[9,T], `logp_old` being that of the policy which samples."""
    pi_scores: TokenScores

    def token_logps(self) -> Tensor:
        """[9,T] q's log-probability of every choice, with gradient; 0 where nothing was chosen."""
        out = torch.zeros(self.rows.ids.shape)
        for tokens in forward_trunk(self.q, self.rows, self.rows.action_mask, 10_000):
            logits = self.q.logits(tokens.hidden)
            scores = token_scores(logits, tokens.ids, tokens.space, tokens.chosen, self.q.spaces)
            out = out.index_put((tokens.row, tokens.column), scores.logp_action)
        return out

    @cached_property
    def logp(self) -> Tensor:
        """[9,T] the same without gradient."""
        return self.token_logps().detach()

    @cached_property
    def jacobian(self) -> Tensor:
        """[K,P] gradient of log q of each acted token with respect to all parameters."""
        parameters = list(self.q.model.parameters())
        rows = [
            torch.autograd.grad(x, parameters, retain_graph=True) for x in self.token_logps()[self.rows.action_mask]
        ]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])

    @property
    def blocks(self) -> dict[str, slice]:
        """Where each parameter's gradient stands among the P."""
        sizes = {name: p.numel() for name, p in self.q.model.named_parameters()}
        ends = itertools.accumulate(sizes.values())
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    def gradient(self, coefficients: Tensor) -> Tensor:
        """[..,9,T] factors of the gradients of log q -> [..,P]."""
        return coefficients[..., self.rows.action_mask] @ self.jacobian

    def credit(self, index: Tensor, config: EstepSettings, rows: Rows, penalty: float = C) -> Credit:
        """What the engine makes of `rows`, groups of config.group_size, row r being sequence `index` [..][r]."""
        scores = TokenScores(*(getattr(self.pi_scores, f.name)[index.flatten()] for f in fields(TokenScores)))
        return estep_credit(rows, self.q.spaces, scores, config, penalty)

    def moved(self, size: float) -> LatentWorld:
        """The world after q has moved, while the rollouts are still those of the old q."""
        q = self.q.snapshot()
        disturb(q, size, seed=5)
        return replace(self, q=q)


def make_world(folder: Path) -> LatentWorld:
    """A q that thinks about half the time, and a pi that cares for what was thought."""
    q = make_policy(folder, tie_word_embeddings=False)
    disturb(q, 0.2, seed=3)
    (word,) = q.tokenizer(" sort", add_special_tokens=False)["input_ids"]
    only = torch.zeros_like(q.spaces.words)
    only[word] = True
    q.spaces = replace(q.spaces, words=only)
    found = encode(q.syntax, Document("d", "    return y\n    y = []\n", 'ba = "sort"\n'))
    assert not isinstance(found, BadRow) and all(found[0].openings) and len(found[0].openings) == 2
    document = replace(found[0], cut=True)
    prefix, think = [*q.start_ids, *document.context_ids], q.syntax.think_ids[1]
    for more, favoured, by in (((), think, 3), (document.step_ids[0], think, 4), ((think, word), word, 5)):
        raise_logits(q, [favoured], [*prefix, *more], by)
    pi = q.snapshot()
    disturb(pi, 0.05, seed=4)
    rows = all_sequences(q, document, word)
    world = LatentWorld(q, pi, document, rows, score(pi, rows, rows.expert, 10_000))
    return replace(world, rows=replace(rows, logp_old=world.logp))


def disturb(policy: Policy, size: float, seed: int) -> None:
    """Adds noise to every weight."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.model.parameters():
        parameter.data += size * torch.randn(parameter.shape, generator=generator)


def all_sequences(policy: Policy, document: EncodedDocument, word: int) -> Rows:
    """All 9 latent sequences as rows."""
    builders = []
    for lengths in itertools.product([0, 1, 2], repeat=2):
        builder = RowBuilder.start(0, [*policy.start_ids, *document.context_ids])
        steps = zip(lengths, forced_steps(document, policy.end_id), document.openings, strict=True)
        for t, (length, step, opening) in enumerate(steps):
            think, close = opening
            if length:
                builder.append(policy.syntax.think_ids[think], t, DECISION + think, 0.0, 0.0)
                builder.append(word, t, WORD, 0.0, 0.0)
                builder.append(word if length == 2 else close[0], t, COMMENT, 0.0, 0.0)
                rest = close if length == 2 else close[1:]
                builder.force(rest, t, [0.0] * len(rest), expert=False)
            builder.force(step, t, [0.0] * len(step))
            if not length:
                builder.mark_decision(len(builder.ids) - len(step), think, 0.0)
        builders.append(builder)
    return build(builders)


def sample(world: LatentWorld, count: int, rules: LatentRules = RULES) -> tuple[Rows, Tensor]:
    """(`count` rows that the engine's sampler drew, in groups of G; which of the 9 sequences each is [count])."""
    rows = interleave(world.q, [world.document] * (count // G), G, rules, list(range(count)))
    known = {tuple(world.rows.tokens(i)): i for i in range(len(world.rows))}
    return rows, torch.tensor([known[tuple(rows.tokens(r))] for r in range(len(rows))])


def under_floor(world: LatentWorld, floor: float) -> Rows:
    """The 9 rows with the importance weights that sampling under a think floor gives them."""
    rows = world.rows
    decision = rows.decisions
    thinks = decision & ~rows.expert
    p = rows.logp_old.exp()
    p_think = torch.where(thinks, p, 1 - p)
    behaviour = p_think.clamp(min=floor)
    importance = p / torch.where(thinks, behaviour, 1 - behaviour)
    return replace(rows, importance=torch.where(decision & (p_think < floor), importance, 1.0))


def log_prior(world: LatentWorld) -> Tensor:
    """[9] log p(z) under the sticky prior."""
    thinks = Boundaries.of(world.rows, world.q.spaces).think
    return torch.where(thinks, math.log((1 - ALPHA) / NUM_LATENTS), math.log(ALPHA)).sum(1)
