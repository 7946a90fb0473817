"""The commands as functions: docs/python.md runs as it stands; settings come from recipes, mappings, keywords."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ra3.api
from ra3.config.load import ALIASES
from ra3.errors import UserError

PAGE = Path(__file__).parents[1] / "docs/python.md"
COMMANDS, READING, MODEL = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page(tmp_path, monkeypatch, capsys, one_core):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in (COMMANDS, READING, MODEL):
        exec(compile(block.replace("import ra3.api as ra3", "import ra3.api; ra3 = ra3.api"), str(PAGE), "exec"), names)
    assert len(names["rewards"]) == 2 and all(0 <= reward <= 1 for reward in names["rewards"])
    assert "edge pass@1 0." in capsys.readouterr().out
    assert names["trained"].folder == Path("runs/first") and names["trained"].has_model
    assert len(list((tmp_path / "annotated").rglob("manifest.jsonl"))) == 1
    policy, ids = names["policy"], names["ids"]
    own = policy.model(ids, attention_mask=torch.ones_like(ids)).logits.log_softmax(-1)
    torch.testing.assert_close(names["logp"], own, atol=1e-4, rtol=0)
    before = (tmp_path / "runs/first/checkpoints/manifest.json").stat().st_mtime_ns
    again = {"corpus.documents": 20, "midtrain.estep.updates": 1}
    assert ra3.api.midtrain("tiny-cpu", again, name="first", resume=True).stages.keys() == {"estep", "mstep"}
    assert (tmp_path / "runs/first/checkpoints/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="this run exists already"):
        ra3.api.midtrain("tiny-cpu", again, name="first")


def test_mappings_win_over_files_and_keywords_over_all():
    recipes = [{"seed": 1, "eval.per-band": 5}, "tiny-cpu", Path("b.toml"), {"run.seed": 2}]
    files, settings = ra3.api.given(recipes, {"seed": 3, "model": Path("m")})
    assert files == ["tiny-cpu", "b.toml"]
    assert settings == {"run.seed": 3, "eval.per_band": 5, "model.path": "m"}


def test_the_keywords_are_the_short_flags():
    assert ra3.api.ShortForms.__annotations__.keys() == ALIASES.keys()


@pytest.mark.parametrize("function", ["load", "midtrain", "rlvr", "evaluate", "annotate"])
def test_a_mistake_is_the_error_of_the_command_line(function):
    model = ("functions",) if function == "load" else ()
    with pytest.raises(UserError, match="model.weights cannot be .(.|\n)*did you mean random"):
        getattr(ra3.api, function)(*model, {"model.weights": "randon"})
    with pytest.raises(UserError, match="unknown flag --modle(.|\n)*did you mean --model"):
        getattr(ra3.api, function)(*model, modle="x")


def test_nothing_heavy_is_imported_with_it():
    code = "import sys, ra3.api; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "False False\n"
