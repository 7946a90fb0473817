"""The policy: any Hugging Face causal language model and its tokenizer, with the only forward pass of the engine.

Sampling (cached, chunk by chunk), scoring and training all go through `Policy.hidden` and `Policy.logits`, so that a
log-probability seen while sampling is the one that is trained on, up to floating-point rounding.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ra3.data.latents import LatentSyntax
from ra3.errors import UserError
from ra3.model.action_spaces import ActionSpaces, TokenScores, token_scores
from ra3.model.chunks import Chunks
from ra3.model.decoder import Decoder, has_these_parts
from ra3.model.kv_cache import SlotCache
from ra3.model.latent_token import settle_opener
from ra3.model.load import check_attention, check_vocabulary, load_model, load_tokenizer
from ra3.model.output_head import embedded, logits_of
from ra3.model.projections import exactly, widen_attention
from ra3.model.row_attention import ROWS, RowLayout

HEAD_CHUNK_LOGITS = 3 * 2**22
"""Logits held at once by the output head (rows times vocabulary): 48 MiB in float32. Blocks up to 32 MiB come from
the heap of glibc, which these would fragment to several times their size."""


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
    exact: bool = True
    """Whether tokens must score in one pass as in any other. What is not trained on, or compared, need not."""
    written_out: bool = False
    """Whether cached passes may go through `Decoder`: it computes what the modules do."""
    _texts: dict[int, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls, folder: Path, weights: str, dtype: torch.dtype, device: torch.device, seed: int, opener: str | None = None
    ) -> Self:
        """The model in `folder`; weights = "random" builds it from its config alone, from `seed`. Its intentions open
        with `opener`; None: as the folder says, or with "#".

        Raises UserError where the folder holds no model, lacks tensors, or the tokenizer cannot write intentions.
        """
        tokenizer, model = load_tokenizer(folder), load_model(folder, weights, seed)
        syntax = LatentSyntax.from_tokenizer(tokenizer, settle_opener(tokenizer, model, opener, folder))
        model = model.to(device=device, dtype=torch.float32).eval()
        check_attention(model, folder)
        model.set_attn_implementation(ROWS)
        if dtype == torch.float32 and device.type == "cpu":
            widen_attention(model)
        check_vocabulary(model, tokenizer, folder)
        mask = torch.zeros(model.config.get_text_config().vocab_size, dtype=torch.bool)
        mask[torch.tensor(syntax.comment_ids)] = True
        spaces = ActionSpaces(syntax.think_id, syntax.newline_id, mask).to(device)
        policy = cls(model, tokenizer, syntax, spaces, str(folder), dtype)
        policy._check_head()
        policy.written_out = dtype == torch.float32 and has_these_parts(model) and policy._decoder_agrees()
        return policy

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.spaces.comment_mask.device

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

    @property
    def positions(self) -> int | None:
        """The longest sequence that the model was made for; None where its config does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

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

    def roughly(self) -> Self:
        """The same model, weights and all, where last bits do not matter: faster on a CPU."""
        return replace(self, exact=False)

    def save(self, folder: Path) -> None:
        """Writes a standard Hugging Face folder. OSError if a file is in its place, which the library only mentions."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @property
    def _no_mask(self) -> Tensor:
        """Keeps the library from making a mask: attention over a cache knows what is visible."""
        return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)

    def new_cache(self, num_rows: int) -> SlotCache:
        """An empty key-value cache for `num_rows` rows, to be read while the weights stay as they are."""
        layers = self.model.config.get_text_config().num_hidden_layers
        cache = SlotCache(num_rows, layers, self.device, self.model.dtype, self.exact)
        if self.written_out and has_these_parts(self.model):
            cache.decoder = Decoder(self.model, self.exact)
        return cache

    def hidden(
        self, ids: Tensor, positions: Tensor, cache: SlotCache | None = None, exact: bool = True,
        layout: RowLayout | None = None, learning: bool = False,
    ) -> Tensor:  # fmt: skip
        """[B,C] ids at [B,C] positions -> [B,C,D] last hidden states: the one forward pass.

        With a cache, B = 1 and the tokens are those of `cache.chunks`; without one, rows are those of `layout`, or one
        begins wherever positions restart at 0; they do not see each other. `exact`: tokens must score as when they were
        sampled. `learning`: a backward pass will follow, and may add to the gradient of the embedding by itself.
        """
        if cache is not None and cache.decoder:
            return cache.decoder(ids[0], positions[0], cache)[None]
        mask = (layout or RowLayout.of(positions)).mask() if cache is None else self._no_mask
        words = {"inputs_embeds": embedded(self.model.get_input_embeddings(), ids)} if learning else {"input_ids": ids}
        with self._autocast(), exactly(exact and self.exact):
            return self.model.base_model(
                **words, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
            ).last_hidden_state

    @property
    def head_rows(self) -> int:
        """Hidden states that go through the output head at once."""
        return max(1, HEAD_CHUNK_LOGITS // self.spaces.comment_mask.numel())

    def logits(self, hidden: Tensor, learning: bool = False) -> Tensor:
        """[...,D] -> [...,V] in `score_dtype`, scaled as the architecture scales them. `learning`: a backward pass will
        follow, and may add to the gradient of the head by itself."""
        head = self.model.get_output_embeddings()
        with self._autocast():
            logits = logits_of(head, hidden) if learning else head(hidden)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        factor, cap = self._logit_scales
        logits = logits if factor == 1.0 else logits * factor
        return cap * torch.tanh(logits / cap) if cap else logits

    @cached_property
    def _logit_scales(self) -> tuple[float, float | None]:
        """What the architecture multiplies logits by, and the bound that it presses them into."""
        config = self.model.config.get_text_config()
        factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        return factor, getattr(config, "final_logit_softcapping", None)

    def scores(self, hidden: Tensor, ids: Tensor, space: Tensor, act: Tensor, temperature: float = 1.0) -> TokenScores:
        """Scores of N tokens from the hidden states [N,D] before them; without gradient it never holds [N,V]."""
        columns = zip(*(x.split(self.head_rows) for x in (hidden, ids, space, act)), strict=True)
        return TokenScores.concatenate(
            [token_scores(self.logits(h), i, s, a, self.spaces, temperature) for h, i, s, a in columns]
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def _check_head(self) -> None:
        """The logits that `hidden` and `logits` compute of two rows together must be the model's own of each, in the
        format of the weights: others round differently in different batches."""
        ours_in_full = replace(self, dtype=torch.float32)
        ids = torch.tensor([[self.start_id, self.syntax.newline_id, self.syntax.think_id]], device=self.device)
        positions = torch.arange(3, device=self.device)[None]
        with torch.no_grad():
            own = self.model(input_ids=ids, position_ids=positions).logits.float()
            two = ours_in_full.hidden(torch.cat([ids[:, :2], ids], 1), torch.cat([positions[:, :2], positions], 1))
            ours = ours_in_full.logits(two[:, 2:])
        if not torch.allclose(own, ours, atol=1e-3, rtol=1e-2):
            raise UserError(
                "this architecture changes its logits in a way that is not supported",
                where=f"{self.source} ({self.model.config.model_type})",
                allowed="an output embedding, with at most final_logit_softcapping, logit_scale or logits_scaling",
                fix="use another model",
            )

    @torch.no_grad()
    def _decoder_agrees(self) -> bool:
        """Whether `Decoder` computes what the modules do, in a chunk and after it."""
        ids, found = torch.tensor([[self.start_id, self.syntax.newline_id, self.syntax.think_id]]), []
        for decoder in (None, Decoder(self.model, self.exact)):
            cache = self.new_cache(1)
            cache.decoder = decoder
            for first, length in ((0, 2), (2, 1)):
                chunks = Chunks([0], [first], [length], self.device)
                cache.next(chunks)
                own = self.hidden(ids[:, first : first + length], chunks.positions[None], cache)
            found.append(own)
        return torch.allclose(*found, atol=1e-5, rtol=1e-4)
