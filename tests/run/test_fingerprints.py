"""Fingerprints of weights, items and code: equal for equals, different for anything else."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from ra3.run.files import fingerprint_code, fingerprint_items, fingerprint_weights


def model(weight: torch.Tensor) -> nn.Module:
    linear = nn.Linear(*reversed(weight.shape), bias=False)
    linear.weight = nn.Parameter(weight)
    return linear


def test_weights_count_bit_by_bit_with_their_names_and_shapes():
    weight = torch.arange(6.0).reshape(2, 3)
    same = (weight, weight.clone(), weight.T.clone().T)
    assert len({fingerprint_weights(model(own)) for own in same}) == 1
    zero, swapped = weight.clone(), weight.clone()
    zero[0, 0] = -0.0
    swapped[0, 0], swapped[0, 1] = weight[0, 1], weight[0, 0]
    others = [zero, swapped, weight.reshape(3, 2), weight.bfloat16(), weight.T]
    named = nn.Sequential(model(weight))
    scalar = nn.BatchNorm1d(1)  # it counts its batches in a tensor without dimensions
    digits = {fingerprint_weights(own) for own in (model(weight), *map(model, others), named, scalar)}
    assert len(digits) == 8 and all(len(own) == 16 for own in digits)


@dataclass(frozen=True)
class Item:
    text: str
    meta: dict = field(default_factory=dict)


def test_items_count_with_their_types_and_order():
    a, b = Item("x", {"k": {2, 1}, "j": 1}), Item("y")
    assert fingerprint_items([a, b]) == fingerprint_items([Item("x", {"j": 1, "k": {1, 2}}), b])
    others = ([a, b], [b, a], [a], [("x", a.meta), b], [Item("x", {"k": {2, 1}}), b])
    digits = {fingerprint_items(items) for items in others}
    assert len(digits) == 5
    assert fingerprint_items(["\ud800"]) != fingerprint_items([r"\ud800"])


def test_every_source_file_counts_in_the_fingerprint_of_the_code(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    found = [fingerprint_code(tmp_path)]
    for name, text in (("a/x.py", "2"), ("y.py", ""), ("a/y.py", ""), ("a/y.toml", "")):
        (tmp_path / name).write_text(text)
        found.append(fingerprint_code(tmp_path))
    (tmp_path / "notes.txt").write_text("no code")
    assert len(set(found)) == 5 and fingerprint_code(tmp_path) == found[-1]


def test_whole_numbers_of_any_length_count_to_the_last_bit():
    """HumanEval+ expects some of three million bits, which Python writes in no decimal."""
    large = 7**1_000_000
    assert fingerprint_items([large]) == fingerprint_items([large]) != fingerprint_items([large + 1])
    assert fingerprint_items([(-large,)]) != fingerprint_items([(large,)])
