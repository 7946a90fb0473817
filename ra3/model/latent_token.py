"""The token that opens an intention in ids: "#", or a special token, added where the tokenizer has none of that name.

A model that opens its intentions with a special token says so in its config.json (``latent_opener``), which
`save_pretrained` writes, so whatever loads the folder later knows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken

from ra3.data.latents import COMMENT_OPENER, single_id
from ra3.errors import UserError

KEY = "latent_opener"


def settle_opener(tokenizer: Any, model: Any, asked: str | None, folder: Path) -> str:
    """The opener of this model: what its config says, or what is `asked` for, or "#". Tokenizer and model then have it.

    Raises UserError where both are there and differ, or where the name is not that of a special token of its own.
    """
    own = str(getattr(model.config, KEY, None) or "")
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
            raise UserError(f"the tokenizer has no token {own!r}", f"{folder}/config.json: {KEY}")
        add_token(tokenizer, model, opener)
    _check_special(tokenizer, opener, folder)
    setattr(model.config, KEY, opener)
    return opener


def add_token(tokenizer: Any, model: Any, name: str) -> None:
    """A new special token, whose rows of embedding and head are those of "#": to the model it reads as "#" does.

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


def _check_special(tokenizer: Any, opener: str, folder: Path) -> None:
    """UserError unless the token can stand in no text by itself, and means nothing else."""
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
