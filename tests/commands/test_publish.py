"""`ra3 publish`: what others get of a run is whole, says what it is, and loads."""

import json

import pytest
from cli_runs import ra3

TEXT = """\
def f{n}(x):
    if x > {n}:
        return x
    return {n}


def g{n}(x):
    y = x + {n}
    return y
"""
WORDS = [
    "midtrain", "tiny-cpu", "--run.name", "x", "--run.threads", 1, "--corpus", "rows.jsonl", "--corpus.filter", "false",
    "--corpus.heldout", 0.2, "--midtrain.estep.updates", 1, "--midtrain.estep.think-floor", "1,9",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run on eight texts of a package each, and what was published of it."""
    home = tmp_path_factory.mktemp("publish")
    rows = [{"id": f"p{n}.py", "text": TEXT.format(n=n), "package": f"p=={n}", "licence": "MIT"} for n in range(8)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (done := ra3(home, *WORDS)).returncode == 0, done.stderr
    assert (done := ra3(home, "publish", "runs/x", "--to", "out")).returncode == 0, done.stderr
    assert done.stdout.split() == ["out/model", "out/dataset"]
    return home


def test_the_data_set_loads_and_turns_back_into_its_sources(home):
    import datasets

    from ra3.data.latents import remove

    datasets.disable_progress_bars()
    table = datasets.load_dataset(str(home / "out/dataset"), split="train", cache_dir=str(home / "cache"))
    rows = map(json.loads, (home / "rows.jsonl").read_text().splitlines())
    sources = {row["id"]: row["text"] for row in rows}
    assert len(table) >= 6 and any(row["latents"] for row in table)
    for row in table:
        assert remove(row["text"], row["latents"]) == sources[row["id"]]
        assert (row["source"], row["licence"]) == (f"p=={row['id'][1]}", "MIT")
        assert row["logp"] < 0 and row["logp_given_latents"] < 0 and row["expert_tokens"] > 10
        assert (row["logp"] == row["logp_given_latents"]) == (not row["latents"])


def test_the_cards_say_what_was_done_and_measured(home):
    card, data = ((home / "out" / name / "README.md").read_text() for name in ("model", "dataset"))
    results = json.loads((home / "runs/x/results.json").read_text())["rows"]
    assert all(f"| {row['metric']} | {row['mean']:.4g} [{row['low']:.4g}, " in card for row in results) and results
    assert "corpus.path = rows.jsonl\n" in card and "corpus.columns" not in card and "by the method `ra3` in" in card
    assert "| MIT | " in data and "mid-trained on `rows.jsonl`" in data


def test_what_cannot_be_published_is_said(home):
    for words, said in (
        (("runs/x", "--to", "out"), "the folder is not empty"),
        (("runs/x", "--to", "hub:me/mine"), "`hf upload me/mine FOLDER/model`"),
        (("runs/y", "--to", "new"), "runs/y: there is no such run folder"),
    ):
        done = ra3(home, "publish", *words)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    (home / "rows.jsonl").write_text((home / "rows.jsonl").read_text().replace("return y", "return x"))
    done = ra3(home, "publish", "runs/x", "--to", "new")
    assert done.returncode == 2 and "not what this run was trained on" in done.stderr, done.stderr
    assert not (home / "new").exists()
