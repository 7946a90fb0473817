"""Embedded worlds: pages drawn from seeds, which become documents with their truth or problems with tests.

Splits are disjoint by construction: every item has its own seed, derived from (seed, split, index).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ra3.data.documents import Document, Truth
from ra3.grading.problem_tests import Test
from ra3.grading.problems import Problem
from ra3.seeds import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
MERGES = (
    "Ġ Ġ", "ĠĠ ĠĠ", "ĠĠĠĠ ĠĠĠĠ", "i n", "r e", "e r", "o n", "a t", "e s", "o r", "s e", "t h", "in g", "s t", "e n",
)  # fmt: skip
"""What a world's byte-level BPE joins within words that it does not know."""
Chain = tuple[str, ...]
"""The names that a solution goes through, from the one that is asked for."""
BANDS = ("known", "edge", "hard")
"""Kinds of problems, from easy to hard."""


@dataclass(frozen=True)
class Level:
    """Knobs of one kind of page. ``lengths`` and ``kinds`` are drawn uniformly; repeat an entry to weigh it."""

    lengths: tuple[int, ...]
    """Links of a chain, for every chain of the page."""
    kinds: tuple[str, ...]
    """The operations or relations that its solutions use."""
    exercises: tuple[int, int]
    """Fewest and most functions or questions."""
    unused: tuple[int, int] = (1, 2)
    """Fewest and most chains that no exercise uses."""
    branches: tuple[int, int] = (0, 0)
    """Fewest and most facts that build on a quantity of a chain and lead nowhere; word problems only."""
    unknown: tuple[str, ...] = ()
    """Operations that nobody there knows yet: their functions do what some other one does, drawn at random."""
    commented: float = 0.0
    """Share of exercises that carry their intention, whatever the chain's length."""
    useless: float = 0.0
    """Share of other lines that carry a comment saying nothing."""


@dataclass(frozen=True)
class Exercise:
    """A function, or a question with its solution."""

    opening: str
    """The line that says what is to be done: ``"def ba(x):\\n"``."""
    chain: Chain
    intention: str
    """The true intention as a line, which stands as deep as the step after it: ``"# ba ke zu evens\\n"``."""
    steps: tuple[str, ...]
    commented: bool
    """The page's author writes the intention down."""


@dataclass(frozen=True)
class Page:
    """One page before it becomes a document or a problem."""

    context: str
    exercises: tuple[Exercise, ...]
    seed: int
    """Of whatever is drawn after the page itself."""


@dataclass(frozen=True)
class World:
    """An embedded world."""

    name: str
    first_name: str
    """Part of every seed and id. The world has another name today; with another word here all its text would change."""
    levels: dict[str, Level]
    """Of the splits "pretrain" and "expert", and of each band."""
    steps: str
    """The `corpus.steps` that fits its documents."""
    stop: str
    """Stop string of its problems."""
    useless: tuple[str, ...]
    """Comments that say nothing."""
    page: Callable[[Level, int], Page]
    """(level, seed) -> page."""
    task: Callable[[Page], tuple[str | None, tuple[Test, ...], dict[str, Any]]]
    """A page of one exercise -> (entry point, tests, what else `meta` says) of the problem that it poses."""
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    answer: Callable[[Page], tuple[str, str]] | None = None
    """A page of one exercise -> (cue, reference) of its problem; None: there is none but its tests."""
    tools: tuple[str, ...] = ()
    """Tools that its problems are solved with. Where there are some, the context of a page is what can be searched."""
    bands = BANDS

    @property
    def model(self) -> Path:
        """The folder of the base model that ships with the package."""
        return Path(__file__).parent / "models" / self.name

    def documents(self, split: str, seed: int, count: int) -> list[Document]:
        """Make documents of "pretrain" (some intentions written) or "expert" (none, longer, new kinds of step)."""
        if split not in ("pretrain", "expert"):
            raise ValueError(f"documents come from 'pretrain' or 'expert', not {split!r}")
        return [self._document(split, seed, index) for index in range(count)]

    def _document(self, split: str, seed: int, index: int) -> Document:
        level = self.levels[split]
        page = self.page(level, derive(seed, self.first_name, split, index))
        lines, boundaries = page_lines(page, level.useless, self.useless)
        chains, comments = zip(*((exercise.chain, exercise.intention) for exercise in page.exercises), strict=True)
        truth = Truth(tuple(boundaries), chains, comments)
        context = "" if self.tools else page.context
        return Document(f"{self.first_name}/{split}/{seed}/{index}", "".join(lines), context, truth)

    def problems(self, split: str, seed: int, count: int, band: str | None = None) -> list[Problem]:
        """Make problems: all of one band, or known and twice as many edge ("rl"), or of all bands in turn ("eval").

        ``meta`` has ``band``, ``chain_length`` and ``intention``.
        """
        if split not in ("rl", "eval"):
            raise ValueError(f"problems come from 'rl' or 'eval', not {split!r}")
        if band not in (None, *BANDS):
            raise ValueError(f"band is one of {', '.join(BANDS)}, not {band!r}")
        turns = (band,) if band else ("known", "edge", "edge") if split == "rl" else BANDS
        return [self._problem(split, turns[index % len(turns)], seed, index) for index in range(count)]

    def _problem(self, split: str, band: str, seed: int, index: int) -> Problem:
        page = self.page(self.levels[band], derive(seed, self.first_name, split, band, index))
        (exercise,) = page.exercises
        entry_point, tests, more = self.task(page)
        meta = {"band": band, "chain_length": len(exercise.chain) - 1, **more}
        meta["intention"] = exercise.intention.rstrip("\n")
        own_id = f"{self.first_name}/{split}/{band}/{seed}/{index}"
        prompt, documents = page.context + exercise.opening, ()
        if self.tools:
            prompt, documents = exercise.opening, tuple(page.context.splitlines())
        problem = Problem(own_id, prompt, entry_point, tests, (self.stop,), meta, tools=self.tools, documents=documents)
        if not self.answer:
            return problem
        cue, reference = self.answer(page)
        return replace(problem, cue=cue, reference=reference)

    def evaluation(self, seed: int, per_band: int) -> list[Problem]:
        """Make ``per_band`` problems of each band."""
        return [problem for band in BANDS for problem in self.problems("eval", seed, per_band, band)]


def page_lines(page: Page, useless: float, useless_lines: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the text of a page line by line, and the index of the line at which each intention belongs.

    Before the share ``useless`` of the steps, never a first one, stands one of ``useless_lines``.
    """
    rng, lines, boundaries = random.Random(page.seed), [], []
    for exercise in page.exercises:
        lines.append(exercise.opening)
        boundaries.append(len(lines))
        for number, step in enumerate(exercise.steps):
            comment = exercise.intention if exercise.commented and not number else ""
            if number and rng.random() < useless:
                comment = rng.choice(useless_lines)
            indentation = step[: len(step) - len(step.lstrip())]
            lines += [indentation + comment, step] if comment else [step]
    return lines, boundaries


def word_tokenizer(alone: str, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a world: byte-level BPE that loses nothing of any text, nothing trained.

    Text is cut at what stands alone (``alone``, a regular expression: names, ``#``, numbers) and at line breaks, which
    take the indentation after them along but for its last space, as in GPT-2. A piece that occurs in ``texts`` is one
    token.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = pre_tokenizers.Split(Regex(alone), "isolated")
    lines = pre_tokenizers.Split(Regex(r"\n+(?: +(?= ))?"), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Sequence([lines, words, bytes_])
    pieces = [piece for text in texts for piece, _ in cut.pre_tokenize_str(text)]
    merges = [(left, right) for left, right in (merge.split(" ") for merge in MERGES)]
    entries = [END, *sorted(bytes_.alphabet()), *("".join(merge) for merge in merges), *pieces]
    vocab = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    built = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    built.pre_tokenizer, built.decoder = cut, decoders.ByteLevel()
    built.add_special_tokens([END])
    built.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, vocab[END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token=END, bos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )
