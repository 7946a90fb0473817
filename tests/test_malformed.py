"""More than 200 malformed inputs: corpora, problems, settings, recipes, model folders.

Each gives one clear message, or a quarantine entry with its place and reason.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpus_files import GOOD, jsonl
from safetensors.torch import load_file, save_file

from ra3.config.help import settings
from ra3.config.load import load
from ra3.data.corpus import read
from ra3.errors import UserError
from ra3.grading.problems import load as load_problems
from ra3.model.policy import Policy

ROW_OF_NO_USE = {
    "not json": b"{", "half a row": b'{"text": "x', "two rows in one line": b'{"text": "x"} {"text": "y"}',
    "a list": b"[1]",
    "a string": b'"x"', "a number": b"3", "null": b"null", "true": b"true", "python": b"{'text': 'x'}",
    "nested too deeply": b"[" * 100_000, "no text": b'{"code": "x"}', "text null": b'{"text": null}',
    "text a number": b'{"text": 3}', "text a list": b'{"text": ["x"]}', "text an object": b'{"text": {"a": 1}}',
    "text true": b'{"text": true}', "text empty": b'{"text": ""}', "text blank": b'{"text": " \\n\\t"}',
    "a NUL": b'{"text": "x\\u0000"}', "half a surrogate": b'{"text": "\\ud800"}', "latin-1": b'{"text": "\xe9"}',
    "utf-16": '{"text": "x"}'.encode("utf-16"), "context a number": b'{"text": "x", "context": 3}',
    "context a list": b'{"text": "x", "context": []}', "id a list": b'{"text": "x", "id": [1]}',
    "id a float": b'{"text": "x", "id": 1.5}', "id true": b'{"text": "x", "id": true}',
    "a comment": b"// x", "a bare word": b"text", "only a brace": b"}",
    "a trailing comma": b'{"text": "x",}', "a number too long": b'{"text": ' + b"9" * 5000 + b"}",
}  # fmt: skip
"""Rows of a .jsonl file after a good one with the id `first`."""

FILES_OF_NO_USE = {
    "empty.jsonl": b"", "blank.jsonl": b"\n\n \n", "text.csv": b"text\nx\n", "zip.jsonl.gz": b"PK\3\4nothing",
    "cut.jsonl.gz": gzip.compress(b'{"text": "x"}\n' * 50)[:30], "no.parquet": b"PAR1", "zeros.parquet": b"\0" * 100,
    "empty.parquet": b"", "empty.py": b"", "nul.py": b"x\0",
    "latin.py": b"'\xe9'", "utf16.py": "x = 1".encode("utf-16"), "separator.py": b"\x1c",
}  # fmt: skip

PROBLEM = {"id": "a", "prompt": "def f(x):\n", "entry_point": "f", "tests": [{"args": [1], "expected": 2}]}
PROBLEMS_OF_NO_USE = [
    *({**PROBLEM, "tests": tests} for tests in (
        None, 3, "x", {}, [], [3], [None], [[]], [{}], [{"args": [1]}], [{"expected": 1}], [{"args": 1, "expected": 1}],
        [{"args": [], "expected": 1, "x": 2}], [{"stdin": "", "stdout": ""}], [{"stdin": 1, "stdout": ""}],
        [{"stdin": "x"}], [{"args": [{"__python__": "f("}], "expected": 1}],
        [{"args": [{"__python__": 3}], "expected": 1}], [{"args": [], "expected": {"__python__": "..."}}],
        [{"args": [], "expected": {"__python__": "__import__('os')"}}],
        [{"args": [], "expected": float("nan")}], [{"args": [], "expected": float("inf")}],
    )),
    *({**PROBLEM, "entry_point": name} for name in (None, "", "f(x)", "1f", "a.b", 3, ["f"], "f\n")),
    *({**PROBLEM, "id": name} for name in (None, 3, [], {})),
    *({**PROBLEM, "prompt": text} for text in (None, 3, ["x"], "\ud800")),
    *({**PROBLEM, "stop": stop} for stop in ("x", 3, [3], [None], {})), *({**PROBLEM, "meta": m} for m in (3, [], "x")),
    {**PROBLEM, "meta": {"numbers": "fuzzy"}}, {**PROBLEM, "answer": 3}, {}, [], 3, None, "x",
    *({key: value for key, value in PROBLEM.items() if key != left_out} for left_out in ("id", "prompt", "tests")),
]  # fmt: skip

RECIPES_OF_NO_USE = {
    "no toml": "[run", "a value alone": "3", "half a value": "run.seed =", "twice": "[run]\nseed = 1\nseed = 2",
    "unknown section": "[rum]\nseed = 1", "unknown key": "[run]\nsed = 1", "a section as value": "run = 3",
    "a value as section": "[run.seed]\nx = 1", "wrong type": "[run]\nseed = 'x'", "a date": "[run]\nseed = 2020-01-01",
    "a list": "[run]\nseed = [1]", "nan": "[rlvr]\ntemperature = nan", "true": "[run]\nseed = true",
    "out of bounds": "[corpus]\nheldout = 2", "a contradiction": "[eval]\nsamples = 5", "NUL": "a = \0",
    "nested too deeply": "a = " + "[" * 100_000,
}  # fmt: skip


def bad_settings() -> dict[str, tuple[str, str]]:
    """For every setting values that it cannot have, as text."""
    found = {}
    for key, setting in settings().items():
        if setting.choices:
            wrong = ["no-such-choice", ""]
        elif setting.kind in ("integer", "number"):
            wrong = ["many", "", "-1", "nan"]
        elif setting.kind == "array" and "whole number" in setting.allowed:
            wrong = ["x", "0", "1,,x"]
        else:
            wrong = [] if setting.kind == "array" else [""]
        found |= {f"{key}={value!r}": (key, value) for value in wrong}
    return found


def changed_config(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def changed_tensors(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def changed_tokenizer(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


UP = "model.layers.0.mlp.up_proj.weight"
MODELS_OF_NO_USE: dict[str, Callable[[Path], object]] = {
    **{f"{key} = {value}": changed_config(**{key: value}) for key, values in {
        "hidden_size": ("x", 0, -1, 33, None, [1]), "num_hidden_layers": (0, 1, 3, "x", -2),
        "model_type": ("x", 3),
        "vocab_size": (0, 10, 10**5, "x"), "num_attention_heads": (0, 3, "x"), "num_key_value_heads": (0, 3),
        "layer_types": (["sliding_attention"] * 2, [1]), "hidden_act": ("x", 1),
        "rope_parameters": (3, {"rope_type": "x"}),
        "rms_norm_eps": ("x",), "tie_word_embeddings": (False, "x"), "head_dim": (0, 7), "eos_token_id": ("x",),
    }.items() for value in values},
    **{f"{name} is {what}": lambda folder, name=name, data=data: (folder / name).write_bytes(data)
       for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
       for what, data in {"empty": b"", "garbage": b"\xff\0x", "a list": b"[]", "an object": b"{}"}.items()},
    **{f"no {name}": lambda folder, name=name: (folder / name).unlink()
       for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")},
    **{f"half of {name}": lambda folder, name=name: (folder / name).write_bytes((folder / name).read_bytes()[:200])
       for name in ("config.json", "tokenizer.json", "model.safetensors")},
    "a tensor missing": changed_tensors(lambda t: t.pop(UP)),
    "a tensor of another shape": changed_tensors(lambda t: t.update({UP: torch.zeros(3, 3)})),
    "a tensor with NaN": changed_tensors(lambda t: t[UP].fill_(float("nan"))),
    "a layer too many": changed_tensors(lambda t: t.update({"model.layers.7.mlp.up_proj.weight": torch.zeros(2, 2)})),
    "no tensor": changed_tensors(lambda t: t.clear()),
    "a tokenizer without decoder": changed_tokenizer(decoder=None),
    "a tokenizer that splits nothing": changed_tokenizer(pre_tokenizer=None),
    "a tokenizer of another kind": changed_tokenizer(model={"type": "x"}),
}  # fmt: skip


def said(error: UserError) -> str:
    """The message, which is one: short, and without a stack trace."""
    message = str(error)
    assert message.strip() and "Traceback" not in message and len(message) < 4000
    return message


def test_there_are_more_than_200():
    groups = (ROW_OF_NO_USE, FILES_OF_NO_USE, PROBLEMS_OF_NO_USE, RECIPES_OF_NO_USE, bad_settings(), MODELS_OF_NO_USE)
    counts = [len(group) for group in groups]
    assert sum(counts) - counts[4] > 150 and sum(counts) > 300, counts


@pytest.mark.parametrize("name", ROW_OF_NO_USE)
def test_rows_go_to_the_quarantine(tmp_path, name):
    path = jsonl(tmp_path, {**GOOD, "id": "first"}, ROW_OF_NO_USE[name], {**GOOD, "id": "last"})
    corpus = read(path, max_bad=1)
    assert [d.id for d in corpus.documents] == ["first", "last"]
    (row,) = corpus.quarantine
    assert row.where == f"{path}:2" and 3 < len(row.reason) < 400 and "\n" not in row.reason


@pytest.mark.parametrize("name", FILES_OF_NO_USE)
def test_files_are_refused_or_quarantined(tmp_path, name):
    (tmp_path / name).write_bytes(FILES_OF_NO_USE[name])
    with pytest.raises(UserError) as told:
        read(tmp_path / name, max_bad=0)
    assert name in said(told.value)


@pytest.mark.parametrize("number", range(len(PROBLEMS_OF_NO_USE)))
def test_problems_are_refused_with_their_line(tmp_path, number):
    path = tmp_path / "problems.jsonl"
    rows = [{**PROBLEM, "id": "first"}, PROBLEMS_OF_NO_USE[number]]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError) as told:
        load_problems(path)
    assert said(told.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("name", RECIPES_OF_NO_USE)
def test_recipes_are_refused(tmp_path, name):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPES_OF_NO_USE[name])
    with pytest.raises(UserError) as told:
        load([path])
    assert "mine.toml" in said(told.value)


@pytest.mark.parametrize("name", bad_settings())
def test_settings_are_refused_by_name(name):
    key, value = bad_settings()[name]
    with pytest.raises(UserError) as told:
        load(overrides={key: value})
    assert key in said(told.value) and "allowed: " in str(told.value)


@pytest.fixture(scope="module")
def saved(policy, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    policy.save(folder)
    return folder


@pytest.mark.parametrize("name", MODELS_OF_NO_USE)
def test_models_are_refused(saved, tmp_path, name, capfd):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    MODELS_OF_NO_USE[name](folder)
    with pytest.raises(UserError) as told:
        Policy.load(folder, "pretrained", torch.float32, torch.device("cpu"), 0)
    assert "model" in said(told.value)
    assert capfd.readouterr() == ("", "")
