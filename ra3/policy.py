"""The policy: any Hugging Face causal language model and its tokenizer, with the only forward pass of the engine.

Sampling (cached, chunk by chunk), scoring and training all go through `Policy.hidden` and `Policy.logits`, so that a
log-probability seen while sampling is the one that is trained on, up to floating-point rounding.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ra3.actions import ActionSpaces, TokenScores, token_scores
from ra3.attention import SLOTS
from ra3.errors import UserError
from ra3.kv_cache import SlotCache
from ra3.latents import LatentSyntax
from ra3.model_folder import check_attention, check_vocabulary, load_model, load_tokenizer
from ra3.projections import widen_attention

HEAD_CHUNK_LOGITS = 2**24
"""Logits held at once by the output head (rows times vocabulary): 64 MiB in float32."""


def packed_mask(positions: Tensor) -> Tensor:
    """[N,T] positions that restart at 0 with each row of a bin -> [N,1,T,T] bool: causal in each row, blind outside."""
    row = (positions == 0).cumsum(-1)
    same = row[:, :, None] == row[:, None, :]
    order = torch.arange(positions.shape[1], device=positions.device)
    return (same & (order[None, :] <= order[:, None]))[:, None]


@dataclass
class Policy:
    """A causal language model and its tokenizer."""

    model: Any
    tokenizer: Any
    syntax: LatentSyntax
    spaces: ActionSpaces
    source: str
    """Folder that the model was loaded from."""
    dtype: torch.dtype = torch.float32
    """Number format of the forward pass; the weights are float32."""
    _texts: dict[int, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, weights: str, dtype: torch.dtype, device: torch.device, seed: int) -> Self:
        """The model in `folder`; weights = "random" builds it from its config alone, from `seed`.

        Raises UserError where the folder holds no model, lacks tensors, or the tokenizer cannot write comments.
        """
        tokenizer = load_tokenizer(folder)
        syntax = LatentSyntax.from_tokenizer(tokenizer)
        model = load_model(folder, weights, seed).to(device=device, dtype=torch.float32).eval()
        check_attention(model, folder)
        model.set_attn_implementation(SLOTS)
        if dtype == torch.float32 and device.type == "cpu":
            widen_attention(model)
        check_vocabulary(model, tokenizer, folder)
        mask = torch.zeros(model.config.get_text_config().vocab_size, dtype=torch.bool)
        mask[torch.tensor(syntax.comment_ids)] = True
        spaces = ActionSpaces(syntax.think_id, syntax.newline_id, mask).to(device)
        policy = cls(model, tokenizer, syntax, spaces, str(folder), dtype)
        policy._check_head()
        return policy

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def score_dtype(self) -> torch.dtype:
        """Number format of logits and scores: float32, or that of the weights if it is wider."""
        return torch.promote_types(next(self.model.parameters()).dtype, torch.float32)

    @property
    def start_id(self) -> int:
        """The token that opens every sequence: the tokenizer's own, or else its end-of-text token."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return bos if bos is not None else eos

    @property
    def end_id(self) -> int:
        """The token that ends a document or an answer."""
        return self.tokenizer.eos_token_id

    @property
    def num_parameters(self) -> int:
        """Parameters, shared ones counted once."""
        return sum(p.numel() for p in self.model.parameters())

    def token_text(self, token: int) -> str:
        """The text of a single token."""
        if token not in self._texts:
            self._texts[token] = self.tokenizer.decode([token])
        return self._texts[token]

    def snapshot(self) -> Self:
        """A copy with weights of its own, on the same device."""
        twin = copy.copy(self)
        twin.model = copy.deepcopy(self.model)
        return twin

    def save(self, folder: Path) -> None:
        """Writes a standard Hugging Face folder. OSError if a file is in its place, which the library only mentions."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def new_cache(self, num_rows: int) -> SlotCache:
        """An empty key-value cache for `num_rows` rows."""
        return SlotCache(num_rows, self.model.config.get_text_config().num_hidden_layers, self.device, self.model.dtype)

    def hidden(
        self, ids: Tensor, positions: Tensor, cache: SlotCache | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """[B,C] ids at [B,C] positions -> [B,C,D] last hidden states: the one forward pass.

        With a cache the chunk continues the cached rows (`rows` [B], None = all); without one, positions that restart
        at 0 are the packed rows of a bin.
        """
        if cache is None:
            mask = packed_mask(positions)
        else:
            cache.plan.set(rows, positions)
            mask = cache.plan.mask()
        with self._autocast():
            return self.model.base_model(
                input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state  # fmt: skip

    def logits(self, hidden: Tensor) -> Tensor:
        """[...,D] -> [...,V] in `score_dtype`, scaled as the architecture scales them."""
        config = self.model.config.get_text_config()
        with self._autocast():
            logits = self.model.get_output_embeddings()(hidden).to(self.score_dtype)
        logits = (
            logits * (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        )
        cap = getattr(config, "final_logit_softcapping", None)
        return cap * torch.tanh(logits / cap) if cap else logits

    def scores(self, hidden: Tensor, ids: Tensor, space: Tensor, act: Tensor, temperature: float = 1.0) -> TokenScores:
        """Scores of N tokens from the hidden states [N,D] before them; never holds [N,V] for large N."""
        chunk = max(1, HEAD_CHUNK_LOGITS // self.spaces.comment_mask.numel())
        parts = [
            self._score_chunk(h, i, s, a, temperature)
            for h, i, s, a in zip(*(x.split(chunk) for x in (hidden, ids, space, act)), strict=True)
        ]
        return TokenScores(*(torch.cat([getattr(p, name) for p in parts]) for name in ("logp", "logp_act", "entropy")))

    def _score_chunk(self, hidden: Tensor, ids: Tensor, space: Tensor, act: Tensor, temperature: float) -> TokenScores:
        def score(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            s = token_scores(self.logits(h), ids, space, act, self.spaces, temperature)
            return s.logp, s.logp_act, s.entropy

        recompute = torch.is_grad_enabled() and hidden.requires_grad
        return TokenScores(*(checkpoint(score, hidden, use_reentrant=False) if recompute else score(hidden)))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _check_head(self) -> None:
        """The logits that `logits` computes must be the model's own."""
        ids = torch.tensor([[self.start_id, self.syntax.newline_id, self.syntax.think_id]], device=self.device)
        positions = torch.arange(3, device=self.device)[None]
        with torch.no_grad(), self._autocast():
            own = self.model(input_ids=ids, position_ids=positions).logits.float()
            ours = self.logits(self.hidden(ids, positions))
        if not torch.allclose(own, ours, atol=1e-3, rtol=1e-2):
            raise UserError(
                "this architecture changes its logits in a way that is not supported",
                where=f"{self.source} ({self.model.config.model_type})",
                allowed="an output embedding, with at most final_logit_softcapping, logit_scale or logits_scaling",
                fix="use another model",
            )
