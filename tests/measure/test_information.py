"""Mutual information by hand, its correction for chance, and the dictionary of found abstractions."""

from __future__ import annotations

import math
import random

import pytest

from ra3.data.documents import Document, Truth
from ra3.data.latents import EncodedDocument
from ra3.measure.latent_index import LatentIndex, last_word
from ra3.measure.statistics import information, mutual_information
from ra3.run.results import LatentEntry


@pytest.mark.parametrize(
    ("x", "y", "bits"),
    [
        ("aabb", "ccdd", 1.0),  # one names the other
        ("abab", "ccdd", 0.0),  # independent
        ("aaaa", "ccdd", 0.0),  # nothing is said
        ("abcd", "wxyz", 2.0),
        ("aabbbb", "ccccdd", 0.2516),  # p: ac 1/3, bc 1/3, bd 1/3; a 1/3, b 2/3, c 2/3, d 1/3
    ],
)
def test_mutual_information_by_hand(x, y, bits):
    assert mutual_information(x, y) == pytest.approx(bits, abs=1e-4)
    assert mutual_information(y, x) == pytest.approx(bits, abs=1e-4)


def test_the_last_of_these_is_the_formula():
    """1/3 log2((1/3) / (1/3 * 2/3)) + 1/3 log2((1/3) / (2/3 * 2/3)) + 1/3 log2((1/3) / (2/3 * 1/3))"""
    bits = math.log2(1.5) / 3 + math.log2(0.75) / 3 + math.log2(1.5) / 3
    assert mutual_information("aabbbb", "ccccdd") == pytest.approx(bits)


def test_what_chance_alone_shows_is_taken_off():
    generator = random.Random(0)
    y = [generator.choice("cdef") for _ in range(400)]
    unrelated = [generator.choice("abgh") for _ in range(400)]
    unique = list(range(400))
    assert abs(information(unrelated, y, 0).bits) < 0.03
    assert mutual_information(unique, y) > 1.9 and information(unique, y, 0) == (pytest.approx(0, abs=1e-9), 0.0)
    told = information([value.upper() for value in y], y, 0)
    assert told.share == pytest.approx(1.0) and told.bits > 1.9
    assert information(["a"] * 4, list("cccc"), 0).share == 0.0


def test_it_needs_pairs():
    with pytest.raises(ValueError, match="2 and 1"):
        mutual_information("ab", "c")
    with pytest.raises(ValueError, match="0 and 0"):
        mutual_information("", "")


def test_words_are_gathered_with_their_code_and_how_often_they_are_right():
    text = "def f(x):\n    y = 1\n    return y\ndef g(x):\n    return 2\n"
    truth = Truth((1, 4), (("f", "one"), ("g", "two")), ("# f one\n", "# g two\n"))
    places = (0, 14, 24, 33, 47)
    known, unknown = (
        EncodedDocument(document, (), ((0,),) * 5, (None,) * 5, places)
        for document in (Document("a", text, truth=truth), Document("b", text))
    )
    index = LatentIndex()
    index.add(known, [None, "# f one\n", None, None, "# h one\n"])
    index.add(unknown, [None, "# f one\n", None, "#\n", None])
    index.add(unknown, [None] * 5)
    one, empty = index.entries()
    code = "    y = 1\n    return y\n"
    assert one == LatentEntry("one", 3, 2, "# f one", code, pytest.approx(2 / 3), 0.5)
    assert empty.word == "" and empty.right_share is None
    assert last_word("# sort the list\n") == "list" and last_word("#\n") == ""
