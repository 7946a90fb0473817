"""What the tests of steps share: cutting a text, and checking that comments change nothing but the text."""

import ast
import itertools
import warnings

from ra3.data.documents import Document
from ra3.data.latents import annotate_text, remove
from ra3.data.steps import split

COMMENTS = (
    "# sort the list\n",
    "#\n",
    "#!/usr/bin/env sh\n",
    "# -*- coding: no-such-encoding -*-\n",
    '# """ open """" and \'\'\' and ( [ {\n',
    "# ends in a backslash \\\n",
    "# naïve ∀x ≥ 0 – 日本\n",
    "# type: ignore\n",
)
"""Comments that would do harm if they stood where they must not."""


def steps(text, context="", kind="line"):
    return split(Document("d", text, context), kind)


def texts(text, context="", kind="line"):
    return [step.text for step in steps(text, context, kind)]


def thinkers(text, context="", kind="line"):
    """The steps that may think, without what is white behind them."""
    return [step.text.rstrip() for step in steps(text, context, kind) if step.may_think]


def meaning(source):
    """The program as a tree without positions, or None if it does not compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "source", "exec", dont_inherit=True)
            return ast.dump(ast.parse(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def places_of(found):
    """Where each step begins in their text."""
    return [0, *itertools.accumulate(len(step.text) for step in found)][: len(found)]


def annotate_everywhere(found, offset=0):
    comments = itertools.cycle(COMMENTS[offset % len(COMMENTS) :] + COMMENTS[: offset % len(COMMENTS)])
    own = {place: next(comments) for place, step in zip(places_of(found), found, strict=True) if step.may_think}
    return annotate_text("".join(step.text for step in found), own)


def check_unchanged(text, context="", kind="line", offset=0):
    """Splits exactly, comments every step that may think, and compares both texts and meanings.

    Returns the steps, and whether the program compiles.
    """
    found = steps(text, context, kind)
    assert "".join(step.text for step in found) == text
    annotated, spans = annotate_everywhere(found, offset)
    assert remove(annotated, spans) == text
    assert len(spans) == sum(step.may_think for step in found)
    before = meaning((context + text).removeprefix("\ufeff"))
    if before is not None:
        assert meaning((context + annotated).removeprefix("\ufeff")) == before
    return found, before is not None
