"""The world's tokenizer: ``#``, newline, full stop, ``", so"``, numbers up to 99 and quantities' names stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ra3.grading.derivation import RELATIONS, Fact, worked_out
from ra3.worlds.tokenizer import word_tokenizer
from ra3.worlds.word_problems.world import LARGEST, NAMES, USELESS, plan_line, question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def fast_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, built from the world's own lines."""
    alone = rf"[#\n.]|, so| ?[0-9]{{1,2}}(?![0-9])|(?: |(?<![A-Za-z0-9]))(?:{'|'.join(NAMES)})(?![A-Za-z0-9])"
    numbers = [Fact(NAMES[0], number=number).sentence for number in range(LARGEST + 1)]
    names = [question((name,)) for name in NAMES]
    known = {NAMES[1]: 2, NAMES[2]: 2}
    operands = {"number": "2", "quantity": NAMES[2]}
    facts = [Fact(NAMES[0], NAMES[1], key, operands.get(r.operand, "")) for key, r in RELATIONS.items()]
    lines = [line for fact in facts for line in (fact.sentence, worked_out(fact, known).sentence)]
    plan = plan_line(NAMES[:2], {NAMES[1]: Fact(NAMES[1], number=2)})
    return word_tokenizer(alone, (*numbers, *names, *lines, plan, *USELESS))
