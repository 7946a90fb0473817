"""What tokenising step by step costs: tokens per byte against the tokenizer's own segmentation of the whole file.

    python perf/segmentation_cost.py [--kind line] [--files 400] [--vocab 8192]

Byte-level BPE tokenizers are trained here, on half of this interpreter's standard library, and measured on files of the
other half, beside the tokenizer of the embedded world. One thread.
"""

import argparse
import os
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ra3.data.documents import Document, read
from ra3.data.steps import KINDS, split
from ra3.worlds.functions import world

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""White space that ends in an indentation is one piece: a newline and the indentation after it may be one token."""
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""White space is cut after the last newline (as in Llama 3 and Qwen): no token spans a line end and what follows it."""


@dataclass(frozen=True)
class Cost:
    """Counts over the measured files."""

    size: int
    """Bytes."""
    whole: int
    """Tokens, each file tokenised in one piece."""
    stepwise: int
    """Tokens, each step tokenised alone."""
    steps: int


def train(documents: list[Document], pattern: str, vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer that cuts text by ``pattern`` first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((document.text for document in documents), trainer)
    return tokenizer


def measure(tokenizer: Tokenizer, documents: list[Document], kind: str) -> Cost:
    """Both segmentations of every document."""
    size = whole = stepwise = steps = 0
    for document in documents:
        texts = [step.text for step in split(document, kind)]
        size += len(document.text.encode())
        whole += len(tokenizer.encode(document.text, add_special_tokens=False).ids)
        stepwise += sum(len(one.ids) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        steps += len(texts)
    return Cost(size, whole, stepwise, steps)


def tokenizers(documents: list[Document], vocab: int) -> Iterator[tuple[str, Tokenizer]]:
    """(name, tokenizer) of everything to measure."""
    yield "embedded world", world.tokenizer().backend_tokenizer
    yield f"BPE {vocab}, GPT-4 style split", train(documents, GPT4, vocab)
    yield f"BPE {vocab}, GPT-2 style split", train(documents, GPT2, vocab)


def main() -> None:
    """Prints one row per tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="line", choices=sorted(KINDS))
    parser.add_argument("--files", type=int, default=400, help="files to measure on (0: the whole half)")
    parser.add_argument("--vocab", type=int, default=8192)
    args = parser.parse_args()
    documents = read(sysconfig.get_paths()["stdlib"]).documents
    random.Random(0).shuffle(documents)
    half = len(documents) // 2
    measured = documents[half:][: args.files or None]
    print(f"{half} files to train on, {len(measured)} to measure on; one step per {args.kind}")
    heads = f"{'bytes':>11}{'steps':>9}{'whole: tokens/byte':>20}{'stepwise':>10}{'more':>9}{'per step':>10}"
    print(f"{'tokenizer':<28}{heads}")
    for name, tokenizer in tokenizers(documents[:half], args.vocab):
        cost = measure(tokenizer, measured, args.kind)
        more, per_step = cost.stepwise / cost.whole - 1, (cost.stepwise - cost.whole) / cost.steps
        rates = f"{cost.whole / cost.size:>20.4f}{cost.stepwise / cost.size:>10.4f}"
        print(f"{name:<28}{cost.size:>11,}{cost.steps:>9,}{rates}{more:>9.2%}{per_step:>10.3f}", flush=True)


if __name__ == "__main__":
    main()
