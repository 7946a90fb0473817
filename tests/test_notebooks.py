"""The notebooks of the documentation run as they stand, cell by cell, each in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ra3.run.inspect import verify_run

NOTEBOOKS = Path(__file__).parents[1] / "docs/notebooks"


def cells(name: str, kind: str) -> list[str]:
    """The text of the cells of a kind."""
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def run_cells(name: str) -> dict:
    """The names that are left when all code was run."""
    names: dict = {"__name__": "__main__"}
    for number, source in enumerate(cells(name, "code")):
        exec(compile(source, f"{name}, code {number}", "exec"), names)
    return names


@pytest.fixture
def folder(tmp_path, monkeypatch, one_core) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_effect(folder, capsys):
    names = run_cells("effect.ipynb")
    assert all(run.state == "finished" and not verify_run(run.folder) for run in names["trained"].values())
    metrics = {score.metric for score in names["trained"]["ra3"].results.scores}
    assert {"nll_per_token", "nll_per_token_given_latents"} <= metrics
    assert {score.metric for score in names["scores"]["ra3"]} == {"pass@1", "pass@4"}
    out = capsys.readouterr().out
    assert "heldout, with 95% interval" in out and names["code"].text in out and "ra3 edge pass@1 " in out


def test_own_model_and_code(folder):
    names = run_cells("own.ipynb")
    assert names["run"].state == "finished" and names["policy"].num_parameters > 0
    assert [path.name for path in names["files"]] and all(path.read_text(encoding="utf-8") for path in names["files"])


def test_own_method(folder):
    names = run_cells("method.ipynb")
    length = [line.values["reward"] / line.values["pass_rate"] for line in names["steps"] if line.values["pass_rate"]]
    assert len(names["steps"]) == 4 and length and all(0 < share < 1 for share in length), "it is not the own reward"


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_links_lead_to_pages_and_nothing_is_kept_of_a_run(name):
    text = "\n".join(cells(name, "markdown"))
    links = [part.split(")")[0].split("#")[0] for part in text.split("](")[1:]]
    assert links and [link for link in links if not (NOTEBOOKS / link).exists()] == []
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"])
