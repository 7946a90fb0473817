"""A Hugging Face folder or GGUF file on this machine as tokenizer and model; what is wrong with it is one message.

Nobody's code is run: a folder that brings its own is read with the library's, or refused. Adapters are merged into
their base or refused. Git-LFS pointers in the place of files are refused by name.

The token that opens a latent in ids is "#", or a special token, added where the tokenizer has none of that name. A
model that opens its latents with a special token says so in its config.json (``latent_opener``), which
`save_pretrained` writes, so whatever loads the folder later knows it.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AddedToken, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import PreTrainedTokenizerFast as FastTokenizer
from transformers.utils import logging as transformers_logging

from ra3.data.latents import COMMENT_OPENER
from ra3.data.tokens import token_ids
from ra3.errors import UserError, is_out_of_memory
from ra3.model.hub import find_model

IN_A_LAYER = re.compile(r"\.\d+\..*(weight|bias)$")
LATENT_TOKEN_KEY = "latent_opener"
"""Where config.json names the token that opens a latent."""
ADAPTER, MERGE = "adapter_config.json", "merge the two (peft: merge_and_unload), and name the merged folder"
POINTER = b"version https://git-lfs"
"""How the small file begins that git keeps in the place of a large one."""
PAGE = """\
def area(width, height=20250):
\t'''Don't, it's what we'll see: na\u00efve caf\u00e9, \u00bd, \u6771\u4eac \U0001f642.'''
    if  width >= 1234567 and height != 0x7F:
        return [3.14e-10, 'two  spaces', "\\t"]  # 650841823


class Point:\r
    pass   \n"""
"""A page of code on which a tokenizer shows how it cuts digits, white space, contractions and Unicode."""


@dataclass
class ModelFolder:
    """A model and its tokenizer, as they lie in a Hugging Face folder or a GGUF file."""

    path: Path
    notes: list[str] = field(default_factory=list)
    """What was read otherwise than its files say at first sight, a sentence each, to be told once."""

    def tokenizer(self) -> Any:
        """The folder's own tokenizer: that of tokenizer.json, where there is one. UserError if it cannot be read."""
        return _read(self.path, "tokenizer", self._tokenizer)

    def model(self, weights: str, seed: int) -> Any:
        """The model, any adapter merged; weights = "random" builds it from its config alone, from `seed`. UserError
        if it cannot be read."""
        return _read(self.path, "model", lambda: self._random(seed) if weights == "random" else self._pretrained())

    @cached_property
    def _folder(self) -> Path:
        return self.path.parent if self.path.is_file() else self.path

    @cached_property
    def _gguf(self) -> dict[str, str]:
        """``{"gguf_file": "NAME.gguf"}``, as the library wants to be told, where that is all there is; else empty."""
        files = [self.path] if self.path.is_file() else sorted(self.path.glob("*.gguf"))
        if not files or self.path.is_dir() and any(self.path.glob("*.safetensors")):
            return {}
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise UserError("there are several GGUF files here", str(self.path), allowed=names, fix="name one of them")
        try:
            import accelerate  # noqa: F401  (the library asks for both)
            import gguf  # noqa: F401
        except ImportError:
            fix = "pip install 'ra3[gguf]'"
            raise UserError("GGUF files need packages that are not here", str(files[0]), fix=fix) from None
        return {"gguf_file": files[0].name}

    def _json(self, name: str) -> dict[str, Any]:
        """An object in a file of the folder; {} where there is no such file."""
        path = self._folder / name
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(content, dict):
            raise ValueError(f"{name} is no JSON object")
        return content

    def _base(self) -> ModelFolder | None:
        """The folder that the adapter in this one belongs to, which may be this one; None where there is no adapter."""
        if not (self.path / ADAPTER).is_file():
            return None
        if (self.path / "config.json").is_file():
            return self
        base = str(self._json(ADAPTER).get("base_model_name_or_path"))
        try:
            path, _ = find_model(base)
        except UserError as error:
            what = f"this is an adapter of {base}: {error.what}"
            raise UserError(what, where=str(self.path / ADAPTER), fix=MERGE) from error
        return ModelFolder(path, self.notes)

    @cached_property
    def _config(self) -> Any:
        base = self._base() or self
        refuse_pointers(base._folder)
        kind, code = base._json("config.json").get("model_type"), base._json("config.json").get("auto_map")
        if code and kind not in CONFIG_MAPPING:
            raise UserError(
                f"this model needs code of its own ({next(iter(dict(code).values()))}), and nobody's code is run",
                where=f"{base.path}/config.json: auto_map", fix="use a model whose architecture transformers has",
            )  # fmt: skip
        config = AutoConfig.from_pretrained(
            base._folder, local_files_only=True, trust_remote_code=False, **base._gguf
        )
        layers = config.get_text_config().num_hidden_layers
        if layers < 1:
            raise ValueError(f"num_hidden_layers is {layers}")
        return config

    def _tokenizer(self) -> Any:
        assert self._config
        refuse_pointers(self._folder)
        base = self._base()
        if base and base is not self and not (self.path / "tokenizer_config.json").is_file():
            return base._tokenizer()
        file, code = self._folder / "tokenizer.json", self._json("tokenizer_config.json").get("auto_map")
        tokenizer = None
        if not (code and file.is_file()):  # where it needs code of its own, the file says all
            theirs = {} if file.is_file() else self._gguf
            tokenizer = AutoTokenizer.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=False, **theirs
            )
            if theirs and self._config.eos_token_id is not None:  # some versions take another
                tokenizer.eos_token = tokenizer.convert_ids_to_tokens(self._config.eos_token_id)
        if not file.is_file() or _same_ids(tokenizer, file):
            return tokenizer
        own = FastTokenizer.from_pretrained(self._folder, local_files_only=True)
        if not _same_ids(own, file):
            raise ValueError("it makes other ids of a page of code than tokenizer.json does")
        other = type(tokenizer).__name__ if tokenizer else "the folder's own code"
        self.notes.append(f"the tokenizer is that of tokenizer.json; {other} would make other ids of the same text")
        return own

    def _random(self, seed: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = self._config
            return AutoModelForCausalLM.from_config(config, attn_implementation="eager", trust_remote_code=False)

    def _pretrained(self) -> Any:
        config = self._config
        if base := self._base():
            return self._merged(base)
        if quantised := getattr(config, "quantization_config", None):
            raise UserError(
                f"the weights are quantised ({dict(quantised).get('quant_method')}), and learning needs them whole",
                where=f"{self.path}/config.json: quantization_config", fix="use the model that they were made from",
            )  # fmt: skip
        model, info = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            self._folder, config=config, local_files_only=True, attn_implementation="eager", output_loading_info=True,
            trust_remote_code=False, ignore_mismatched_sizes=True, **self._gguf,  # sizes are refused here, by name
        )  # fmt: skip
        mismatched = [f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in info["mismatched_keys"]]
        _refuse("missing from the weights, or of another shape there", [*info["missing_keys"], *mismatched])
        _refuse("in the weights that this config has no place for", filter(IN_A_LAYER.search, info["unexpected_keys"]))
        wild = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
        _refuse("with NaN or infinity", wild)
        if self._gguf:
            model.hf_quantizer = None  # the library would not save what was quantised once
            model.config.__dict__.pop("quantization_config", None)
            self.notes.append(f"the weights of {self._gguf['gguf_file']} were de-quantised, and are saved so")
        return model

    def _merged(self, base: ModelFolder) -> Any:
        """The base's model with this folder's LoRA adapter added to its weights, in float32."""
        where = str(self.path / ADAPTER)
        what = "the folder holds a model and an adapter of it" if base is self else f"this is an adapter of {base.path}"
        try:
            from peft import PeftConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
        except ImportError:
            raise UserError(what, where, fix=f"install peft (pip install 'ra3[lora]'), or {MERGE}") from None
        adapter = PeftConfig.from_pretrained(str(self.path))
        if adapter.peft_type != "LORA":
            raise UserError(f"{what}, of the kind {adapter.peft_type}", where, "a LoRA adapter", "use another model")
        with tempfile.TemporaryDirectory() as bare:  # the library would put the adapter in, unmerged
            for file in base.path.iterdir():
                if not file.name.startswith("adapter_"):
                    (Path(bare) / file.name).symlink_to(file.resolve())
            model = ModelFolder(Path(bare))._pretrained().float()
        model.config.name_or_path = str(base.path)
        adapted = get_peft_model(model, adapter)
        found = set_peft_model_state_dict(adapted, load_peft_weights(str(self.path), device="cpu"))
        _refuse("missing from the adapter", [name for name in found.missing_keys if "lora_" in name])
        _refuse("in the adapter that this model has no place for", found.unexpected_keys)
        self.notes.append(f"{what}: its weights were added to the model's")
        return adapted.merge_and_unload()


def refuse_pointers(folder: Path) -> None:
    """UserError if a file of the folder is a git-lfs pointer, not the file itself."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(POINTER):
            fix = "run `git lfs pull` in the folder, or download the file itself"
            raise UserError("the model is not here: this file is a git-lfs pointer to it", where=str(path), fix=fix)


def _same_ids(tokenizer: Any, file: Path) -> bool:
    """Whether the tokenizer makes the ids of a page of code that `file`, a tokenizer.json, makes."""
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    expected = own.encode(PAGE, add_special_tokens=False).ids
    return tokenizer is not None and tokenizer(PAGE, add_special_tokens=False)["input_ids"] == expected


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the libraries say nothing by themselves."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _read(folder: Path, what: str, load: Callable[[], Any]) -> Any:
    """What `load` gives; whatever it raises becomes a UserError, and nothing else is said."""
    try:
        with quiet():
            return load()
    except UserError:
        raise
    except Exception as error:  # the libraries that read these files raise anything, also bare Exceptions
        if is_out_of_memory(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])[:300] or type(error).__name__
        unknown = "unknown or missing name " * isinstance(error, KeyError)  # its text is the bare name
        fix = "check the path, or set model.weights=random to build the model from config.json alone"
        if folder.is_dir() and not any((folder / f"{kind}config.json").is_file() for kind in ("", "adapter_")):
            reason, fix = "there is no config.json in this folder", "name the folder that holds the model"
        raise UserError(
            f"the {what} cannot be loaded: {unknown}{reason}",
            where=str(folder), allowed="a Hugging Face folder with config.json, tokenizer files and *.safetensors",
            fix=fix,
        ) from error  # fmt: skip


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
    like = token_ids(tokenizer, [f"a\n    {COMMENT_OPENER}"])[0][-1]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False)], special_tokens=True)
    new = tokenizer.convert_tokens_to_ids(name)
    if new >= model.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):  # the library draws the new row, which is overwritten
            model.resize_token_embeddings(new + 1, mean_resizing=False)
    for matrix in (model.get_input_embeddings(), model.get_output_embeddings()):
        for weights in matrix.parameters(recurse=False):
            weights.data[new] = weights.data[like]
