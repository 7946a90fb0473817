"""A Hugging Face folder on this machine as tokenizer and model; whatever is wrong with it is one message.

The token that opens a latent in ids is "#", or a special token, added where the tokenizer has none of that name. A
model that opens its latents with a special token says so in its config.json (``latent_opener``), which
`save_pretrained` writes, so whatever loads the folder later knows it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ra3.data.latents import COMMENT_OPENER, single_id
from ra3.errors import UserError, is_out_of_memory

IN_A_LAYER = re.compile(r"\.\d+\..*(weight|bias)$")
LATENT_TOKEN_KEY = "latent_opener"
"""Where config.json names the token that opens a latent."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder`. UserError if it, or the config it needs, cannot be read."""
    _read(folder, "config", lambda: _config(folder))
    return _read(folder, "tokenizer", lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True))


def load_model(folder: Path, weights: str, seed: int) -> Any:
    """The model in `folder`; weights = "random" builds it from its config alone, from `seed`. UserError if not."""
    return _read(folder, "model", lambda: _random(folder, seed) if weights == "random" else _pretrained(folder))


def check_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """UserError for a model that cannot be sampled line by line, or that does not belong to the tokenizer."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UserError(
            "only full-attention models can be sampled line by line from one cache",
            where=f"{folder}/config.json: layer_types = {sorted(kinds)}",
            allowed="full_attention in every layer", fix="use another model",
        )  # fmt: skip
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} tokens, the model only {config.vocab_size}",
            where=str(folder), fix="use the tokenizer that belongs to this model",
        )  # fmt: skip
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-text token", where=str(folder), fix="set eos_token in its config")


def _read(folder: Path, what: str, load: Callable[[], Any]) -> Any:
    """What `load` gives; whatever it raises becomes a UserError, and nothing else is said."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # the libraries that read these files raise anything, also bare Exceptions
        if is_out_of_memory(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])[:300] or type(error).__name__
        unknown = "unknown or missing name " * isinstance(error, KeyError)  # its text is the bare name
        raise UserError(
            f"the {what} cannot be loaded: {unknown}{reason}",
            where=str(folder), allowed="a Hugging Face folder with config.json, tokenizer files and *.safetensors",
            fix="check the path, or set model.weights=random to build the model from config.json alone",
        ) from error  # fmt: skip
    finally:
        transformers_logging.set_verbosity(verbosity)


def _config(folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    layers = config.get_text_config().num_hidden_layers
    if layers < 1:
        raise ValueError(f"num_hidden_layers is {layers}")
    return config


def _random(folder: Path, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(_config(folder), attn_implementation="sdpa")


def _pretrained(folder: Path) -> Any:
    model, info = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
        folder, local_files_only=True, attn_implementation="sdpa", output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused here, by name
    )  # fmt: skip
    mismatched = [f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in info["mismatched_keys"]]
    _refuse("missing from the weights, or of another shape there", [*info["missing_keys"], *mismatched])
    _refuse("in the weights that this config has no place for", filter(IN_A_LAYER.search, info["unexpected_keys"]))
    wild = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    _refuse("with NaN or infinity", wild)
    return model


def _refuse(what: str, tensors: Iterable[str]) -> None:
    if names := sorted(tensors):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(f"tensors {what}: {', '.join(names[:3])}{more}")


def resolve_latent_token(tokenizer: Any, model: Any, asked: str | None, folder: Path) -> str:
    """Returns the token that opens latents, which both then have: as the config says, or as `asked` for, or "#".

    Raises UserError where both are there and differ, or where it is no special token that means nothing else.
    """
    own = str(getattr(model.config, LATENT_TOKEN_KEY, None) or "")
    if own and asked and own != asked:
        raise UserError(
            f"the intentions of this model open with {own!r}",
            where=f"model.opener = {asked}, {folder}",
            fix="leave model.opener out, or start from a model that has none",
        )
    opener = own or asked or COMMENT_OPENER
    if opener == COMMENT_OPENER:
        return opener
    if opener not in tokenizer.get_vocab():
        if own:
            raise UserError(f"the tokenizer has no token {own!r}", f"{folder}/config.json: {LATENT_TOKEN_KEY}")
        add_latent_token(tokenizer, model, opener)
    token = tokenizer.convert_tokens_to_ids(opener)
    added = tokenizer.added_tokens_decoder.get(token)
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    if added is None or not added.special or token in ends:
        what = "begins, ends, or fills up texts" if token in ends else "may stand in any text"
        raise UserError(
            f"{opener!r} is a token of this tokenizer that {what}",
            where=f"model.opener, {folder}",
            allowed='"#", a special token with no other use, or a new name such as <|plan|>',
        )
    setattr(model.config, LATENT_TOKEN_KEY, opener)
    return opener


def add_latent_token(tokenizer: Any, model: Any, name: str) -> None:
    """Adds a special token, whose rows of embedding and head are those of "#": to the model it reads as "#" does.

    A model whose matrices are padded keeps their size; one without room grows by a row.
    """
    like = single_id(tokenizer, COMMENT_OPENER)
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False)], special_tokens=True)
    new = tokenizer.convert_tokens_to_ids(name)
    if new >= model.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):  # the library draws the new row, which is overwritten
            model.resize_token_embeddings(new + 1, mean_resizing=False)
    for matrix in (model.get_input_embeddings(), model.get_output_embeddings()):
        for weights in matrix.parameters(recurse=False):
            weights.data[new] = weights.data[like]
