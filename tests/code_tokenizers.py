"""Tokenizers in the styles of real families, trained on a little of this Python's own library."""

import sysconfig
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""How Llama 3 cuts text into words; Qwen 2 the same, but for one digit at a time."""
QWEN = CL100K.replace("{1,3}", "")
STYLES = ("gpt2", "starcoder", "llama3", "qwen", "llama2")


@cache
def code_tokenizer(style: str) -> PreTrainedTokenizerFast:
    """A tokenizer of 3,000 ids that cuts and joins as those of a family do."""
    if style == "llama2":
        return _byte_fallback()
    backend = Tokenizer(models.BPE())
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = {
        "gpt2": gpt2,
        "starcoder": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
        "llama3": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CL100K), "isolated"), bytes_]),
        "qwen": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"), bytes_]),
    }[style]
    backend.decoder = decoders.ByteLevel()
    if style == "qwen":
        backend.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=alphabet, special_tokens=["<|end|>", "<|begin|>"], show_progress=False
    )
    backend.train([str(file) for file in _library()], trainer)
    if style == "llama3":
        begin = ("<|begin|>", backend.token_to_id("<|begin|>"))
        backend.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[begin])
    else:
        backend.post_processor = processors.ByteLevel(trim_offsets=style != "qwen")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


def _byte_fallback() -> PreTrainedTokenizerFast:
    """BPE over whole texts in which a space is "▁", without a rule for words; unknown characters are bytes."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False, max_token_length=12
    )
    # no word crosses a line while it is trained, nor joins letters with what is none
    cut = pre_tokenizers.Split(Regex(r"\n|▁*[A-Za-z]+|▁+|[^A-Za-z▁\n]"), "isolated")
    backend.pre_tokenizer = cut
    backend.train([str(file) for file in _library()], trainer)
    backend.pre_tokenizer = None  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    start = ("<s>", backend.token_to_id("<s>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[start])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _library() -> list[Path]:
    """Some files of the library."""
    return sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:40]
