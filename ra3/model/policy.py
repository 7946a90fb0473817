"""The policy: any Hugging Face causal language model and its tokenizer, with the only forward pass of the engine.

Sampling (cached, chunk by chunk), scoring and training all go through `Policy.hidden` and `Policy.logits`, so that a
log-probability seen while sampling is the one that is trained on, up to rounding (1e-4, checked at every step).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from ra3 import ranks
from ra3.data.latents import LatentSyntax
from ra3.data.tokens import token_texts
from ra3.errors import UserError
from ra3.model.action_spaces import ActionSpaces
from ra3.model.agreement import check_config, check_passes, hold_rope, positions
from ra3.model.attention import RowLayout
from ra3.model.kv_cache import SlotCache
from ra3.model.lanes import whole
from ra3.model.load import ModelFolder, resolve_latent_token
from ra3.model.lora import AdapterState, Lora, is_adapted, merged, save_adapter
from ra3.model.products import OneDnnLinear, product, take_fast_products

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
    notes: tuple[str, ...] = ()
    """What was loaded otherwise than one would think, a sentence each."""
    lora: Lora | None = None
    """The adapter that learns in the place of all weights."""
    chats: bool = False
    """Problems that ask for a reply are put in the tokenizer's chat template."""
    lanes: int = 1
    """Shares that the work of a step is cut into (ra3/model/lanes.py)."""
    writer: Any = None
    """What writes completions in the place of our own decoding (ra3/rollout/vllm.py)."""
    _texts: dict[int, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls, folder: Path, weights: str, dtype: torch.dtype, device: torch.device, seed: int,
        latent_token: str | None = None,
    ) -> Self:  # fmt: skip
        """Loads the model in `folder`; weights = "random" builds it from its config alone, from `seed`. Its latents
        begin with `latent_token`; None: as the folder says, or with "#".

        Raises UserError where the folder holds no model, lacks tensors, or the tokenizer cannot write latents.
        """
        source = ModelFolder(folder)
        tokenizer, model = source.tokenizer(), source.model(weights, seed)
        syntax = LatentSyntax.from_tokenizer(tokenizer, resolve_latent_token(tokenizer, model, latent_token, folder))
        model = model.to(device=device, dtype=torch.float32).eval()
        take_fast_products(model)
        check_config(model, tokenizer, str(folder))
        hold_rope(model)
        spaces = action_spaces(syntax, model.config.get_text_config().vocab_size, device)
        policy = cls(model, tokenizer, syntax, spaces, str(folder), dtype, tuple(source.notes))
        check_passes(replace(policy, dtype=torch.float32))
        return policy

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.spaces.words.device

    @property
    def vocabulary(self) -> int:
        """Ids that the model knows."""
        return len(self.spaces.words)

    @property
    def score_dtype(self) -> torch.dtype:
        """Number format of logits and scores: float32, or that of the weights if it is wider."""
        return torch.promote_types(next(self.model.parameters()).dtype, torch.float32)

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What opens every sequence: what the tokenizer puts in front of a text, one id or none."""
        return self.syntax.start_ids

    @property
    def end_id(self) -> int:
        """The token that ends a document."""
        return self.tokenizer.eos_token_id

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the model's generation_config and config, and the tokenizer's."""
        configs = self.model.generation_config, self.model.config, self.model.config.get_text_config(), self.tokenizer
        found = (getattr(config, "eos_token_id", None) for config in configs)
        return frozenset(i for own in found if own is not None for i in (own if isinstance(own, list) else [own]))

    @property
    def num_parameters(self) -> int:
        """Parameters, shared ones counted once."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def learning_share(self) -> float:
        """Share of the parameters that learn."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad) / self.num_parameters

    @property
    def positions(self) -> int | None:
        """The longest sequence that the model was made for; None where its config does not say."""
        return positions(self.model.config.get_text_config())

    def token_text(self, token: int) -> str:
        """The text of a single token."""
        if token not in self._texts:
            (self._texts[token],) = token_texts(self.tokenizer, [token])
        return self._texts[token]

    def snapshot(self) -> Self:
        """A copy with weights of its own, on the same device."""
        twin = copy.copy(self)
        twin.model = copy.deepcopy(self.model)
        return twin

    def learner(self) -> Self:
        """A copy that learns: with weights of its own, or with those of this policy and an adapter."""
        return replace(self, model=self.lora.learner(self.model)) if self.lora else self.snapshot()

    @property
    def trunk(self) -> Any:
        """What makes hidden states of ids."""
        return self.model.base_model

    @property
    def is_sharded(self) -> bool:
        """Whether each rank holds a share of the weights (ra3/model/sharding.py), and not all of them."""
        return False

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, a rank makes passes without the others, and weights that do not change take the format of the passes
        once, not once a pass."""
        return self._autocast()

    def end_passes(self) -> None:
        """Passes are over for now."""

    def idle_pass(self) -> None:
        """Another rank makes a pass, this one none."""

    @property
    def learnt(self) -> Any:
        """What checkpoints hold: the model, or its adapter alone."""
        return AdapterState(self.model) if self.lora else self.model

    def save(self, folder: Path) -> None:
        """Writes a standard Hugging Face folder, and an adapter beside what it makes of the model.

        The first rank alone writes. OSError if a file is in its place, which the library only mentions.
        """
        spread = self.learnt.state_dict() if self.is_sharded else {}
        distinct = {id(tensor): tensor for tensor in spread.values()}  # one that is tied has two names
        gathered = {key: whole(tensor) for key, tensor in distinct.items()}
        if ranks.rank():
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self.lora and is_adapted(self.model):
            save_adapter(self.model, self.source, folder / "adapter")
            merged(self.model).save_pretrained(folder)
        else:
            weights = {name: gathered[id(tensor)] for name, tensor in spread.items()}
            self.model.save_pretrained(folder, state_dict=weights or None)
        self.tokenizer.save_pretrained(folder)

    def hidden(
        self, ids: Tensor, positions: Tensor, cache: SlotCache | None = None, layout: RowLayout | None = None
    ) -> Tensor:
        """[B,C] ids at [B,C] positions -> [B,C,D] last hidden states: the one forward pass.

        With a cache, B = 1 and the tokens are those of `cache.batch`. Without one, rows are those of `layout`, or one
        begins wherever positions restart at 0; they do not see each other.
        """
        # a mask of one entry keeps the library from making one: attention knows what is visible
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)
        if cache is None:
            mask.row_layout = layout or RowLayout.of(positions)  # pyright: ignore[reportAttributeAccessIssue]
        mask.cache = cache  # pyright: ignore[reportAttributeAccessIssue]
        reading = {"position_ids": positions, "attention_mask": mask, "use_cache": cache is not None}
        with self._autocast():
            return self.trunk(ids, **reading, **{self._cache_argument: cache}).last_hidden_state

    @cached_property
    def _cache_argument(self) -> str:
        """What the forward pass calls its cache: another name since transformers 5.24."""
        return "cache" if "cache" in signature(self.model.base_model.forward).parameters else "past_key_values"

    @property
    def head_rows(self) -> int:
        """Hidden states that go through the output head at once."""
        return max(1, HEAD_CHUNK_LOGITS // self.vocabulary)

    def logits(self, hidden: Tensor, learning: bool = False) -> Tensor:
        """[...,D] -> [...,V] in `score_dtype`, scaled as the architecture does; `learning`: a backward pass follows."""
        head = self.model.get_output_embeddings()
        with self._autocast():
            logits = project_to_vocabulary(head, hidden) if learning else head(hidden)
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

    def by_parts(self, function: Callable[..., Tensor], hidden: Tensor, *columns: Tensor) -> Tensor:
        """`function` of the logits after hidden states [N,D], and of more columns [N], a few rows at a time."""
        parts = zip(*(x.split(self.head_rows) for x in (hidden, *columns)), strict=True)
        return torch.cat([function(self.logits(few), *own) for few, *own in parts])

    @contextmanager
    def activation_checkpointing(self, wanted: bool) -> Iterator[None]:
        """Inside, layers keep only what comes into them and compute the rest again in the backward pass, if `wanted`.

        A model of L layers then keeps N D numbers for each of them and the inside of one, for a forward pass more. The
        numbers are the same (Chen et al., arXiv 1604.06174). UserError where the architecture's layers cannot.
        """
        layers = [m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)] if wanted else []
        if wanted and not layers:
            raise UserError(
                "the layers of this architecture cannot be computed again",
                where=f"update.checkpoint_activations with {self.model.config.model_type}",
                fix="set update.checkpoint_activations to false, and lower update.micro_batch_tokens to save memory",
            )
        for layer in layers:  # the library recomputes layers in training mode; what is inside keeps its own: no dropout
            layer.gradient_checkpointing = layer.training = True
            layer._gradient_checkpointing_func = partial(  # pyright: ignore[reportArgumentType]
                checkpoint, use_reentrant=False, preserve_rng_state=False
            )
        try:
            yield
        finally:
            for layer in layers:
                layer.gradient_checkpointing = layer.training = False

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)


def action_spaces(syntax: LatentSyntax, vocabulary: int, device: torch.device) -> ActionSpaces:
    """What a policy of `vocabulary` ids may choose, by the ids of its syntax."""

    def mask(ids: Sequence[int]) -> Tensor:
        own = torch.zeros(vocabulary, dtype=torch.bool)
        own[torch.tensor(ids, dtype=torch.long)] = True
        return own.to(device)

    words = mask([*syntax.word_ids, *syntax.last_word_ids])
    think_ids = torch.tensor(syntax.think_ids, device=device)
    return ActionSpaces(think_ids, words, mask(syntax.break_ids), mask(syntax.last_word_ids))


class _Projection(torch.autograd.Function):
    """h W^T, whose backward pass adds to W.grad by itself.

    The head takes a few tokens at a time, to save room. For each such part autograd would make a gradient [V,D] and add
    it to the last: for a large vocabulary more memory than the logits, and as much time as computing it.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.head, ctx.product = head, product if type(head) is OneDnnLinear else linear
        return ctx.product(hidden, head.weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (hidden,), weight = gradients, ctx.saved_tensors, ctx.head.weight
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        weight.grad.addmm_(gradient.T, hidden)
        return ctx.product(gradient, weight.T), None


def project_to_vocabulary(head: nn.Module, hidden: Tensor) -> Tensor:
    """[n,D] -> [n,V]. What is no plain float linear layer with a gradient of its own, as an adapted one, is called."""
    learns = type(head) in (nn.Linear, OneDnnLinear) and head.weight.requires_grad and hidden.requires_grad
    plain = learns and head.bias is None and not (head._backward_hooks or head._forward_hooks)
    if not plain or torch.is_autocast_enabled(hidden.device.type) or hidden.dtype != head.weight.dtype:
        return head(hidden)
    return _Projection.apply(hidden, head)
