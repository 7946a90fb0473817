"""`ra3 compare`: what is in a file, what is owed, and one real comparison to its end."""

from __future__ import annotations

import csv
import json
import re
import signal
from importlib.metadata import version
from pathlib import Path

import pytest
from cli_runs import Started, ra3

import ra3 as ra3_package
from ra3.compare.definition import cell_name, read_comparison, shipped
from ra3.errors import UserError
from ra3.run.files import fingerprint_code

TEXT = """\
seeds = [1, 2]
rlvr = ["ntp"]
against = "ntp"
[settings]
eval.per_band = 1
[variants.base]
[variants.ntp]
midtrain.method = "ntp"
"""


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        (tmp_path / "own.toml").write_text(text)
        return tmp_path / "own.toml"

    return write


def test_a_cell_is_trained_evaluated_put_through_rlvr_and_evaluated_again(file, tmp_path):
    comparison = read_comparison(file(TEXT))
    base, ntp, *_ = comparison.cells(tmp_path)
    assert [command.name for command in base.commands] == ["eval"]
    assert [command.name for command in ntp.commands] == ["midtrain", "eval", "rlvr", "eval"]
    train, first, learn, last = ntp.commands
    assert first.settings["model.path"] == learn.settings["model.path"] == str(train.folder / "model")
    assert last.settings["model.path"] == str(learn.folder / "model")
    assert ntp.folder("rlvr-eval") == last.folder and base.folder("midtrain") is None
    assert {cell.seed for cell in comparison.cells(tmp_path)[:2]} == {1}
    assert train.config().midtrain.method == "ntp" and train.config().eval.per_band == 1
    assert "--eval.per-band 1" in train.text and train.text.startswith("ra3 midtrain ")


def test_without_mid_training_every_variant_starts_rlvr_from_the_model_of_its_settings(file, tmp_path):
    text = 'seeds = [1]\nmidtrain = false\n[variants.base]\n[variants.gspo]\nrlvr.method = "gspo"\n'
    base, gspo = read_comparison(file(text)).cells(tmp_path)
    assert [command.stage for command in base.commands] == ["eval"]
    learn, last = gspo.commands
    assert (learn.stage, last.stage) == ("rlvr", "rlvr-eval") and "model.path" not in learn.settings
    assert last.settings["model.path"] == str(learn.folder / "model")
    for more in ('rlvr = []\n', 'equal_flops = "gspo"\n'):
        with pytest.raises(UserError, match="midtrain = false"):
            read_comparison(file(more + text))


@pytest.mark.parametrize("name", shipped())
def test_the_comparisons_that_come_with_ra3_are_right(name):
    path = shipped()[name]
    comparison = read_comparison(path)
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("# ") and second == f"# Run it with `ra3 compare {name} --workers 2`."
    assert set(comparison.against) <= set(comparison.variants)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds = [1, 2]", "seeds = []"), "no seeds"),
        (("seeds = [1, 2]", "seeds = [1, 1]"), "twice"),
        (("seeds = [1, 2]", "seeds = [-1]"), "seeds cannot be -1"),
        (("seeds = [1, 2]", "seeds = 3"), "seeds cannot be 3"),
        (('against = "ntp"', 'against = "nobody"'), "no variant nobody"),
        (('rlvr = ["ntp"]', 'rlvr = ["x"]'), "no variant x"),
        (("[variants.base]", '[variants."NTP"]'), "same run folders"),
        (('method = "ntp"', 'method = "npt"'), "did you mean ntp"),
        (("eval.per_band", "eval.perband"), "unknown"),
        (("seeds =", "variant = 3\nseeds ="), "unknown key variant"),
        (("[variants.base]", "[variants.base"), "not valid TOML"),
        (('against = "ntp"', "against = 3"), "against cannot be 3"),
        (('against = "ntp"', 'against = ["ntp", "x"]'), "no variant x"),
        (('against = "ntp"', 'equal_flops = "base"'), "equal_flops cannot be 'base'"),
        (("seeds =", 'figures.c = ["ntp", "y"]\nseeds ='), "no variant y"),
        (("seeds =", "figures.c = 3\nseeds ="), "figures.c is no list of variants"),
        (('against = "ntp"', "against = []"), "against names nobody"),
        (('against = "ntp"', 'against = ["ntp", "ntp"]'), "a variant is there twice: ntp, ntp"),
        (("[variants.base]", '[variants."ntp+rlvr"]'), "cannot be called 'ntp+rlvr'"),
        (("[variants.base]", '[variants."ntp, equal FLOPs"]'), "cannot be called 'ntp, equal FLOPs'"),
        (("eval.per_band", "run.seed = 3\neval.per_band"), "run.seed is the comparison's to set"),
        (("eval.per_band", "eval.k = [5]\neval.per_band"), "eval.k has no 1"),
        (('method = "ntp"', 'method = "npt"'), "own.toml, variant ntp: midtrain.method"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(file, change, words):
    with pytest.raises(UserError, match=re.escape(words)):
        read_comparison(file(TEXT.replace(*change)))


def test_every_cell_starts_from_the_model_of_its_seed(tmp_path, file):
    comparison, start = read_comparison(file(TEXT)), str(tmp_path / "own-{seed}")
    with pytest.raises(UserError, match="there is no model folder .*own-1"):
        comparison.starting_from(start)
    for seed in comparison.seeds:
        (tmp_path / f"own-{seed}").mkdir()
    base, ntp, other_seed, _ = comparison.starting_from(start).cells(tmp_path)
    first = [Path(cell.commands[0].settings["model.path"]).name for cell in (base, ntp, other_seed)]
    assert first == ["own-1", "own-1", "own-2"]
    assert ntp.commands[1].settings["model.path"] == str(ntp.commands[0].folder / "model")


def test_cells_have_readable_names():
    assert cell_name("RA3, c = 0", 3) == "ra3-c-0-3"
    assert cell_name("0.8 (dear)", 0) == "0.8-dear-0"


# A real comparison

SMALL = """\
seeds = [1]
against = "base"
[settings]
model.path = "tiny"
run.threads = 1
corpus.documents = 8
midtrain.mstep.batch_documents = 4
eval.per_band = 1
eval.samples = 1
eval.k = [1]
eval.max_new_tokens = 4
[variants.base]
[variants.ntp]
midtrain.method = "ntp"
"""


def test_a_comparison_runs_what_is_owed_and_nothing_twice(home):
    (home / "small.toml").write_text(SMALL)
    words = ["compare", "small.toml", "--out", "compared", "--workers", 2]
    first = ra3(home, *words)
    assert first.returncode == 0, first.stderr + "".join(p.read_text() for p in (home / "compared/logs").iterdir())
    assert "3 of them owed" in first.stdout and "| ntp \u2212 base |" in first.stdout
    results = json.loads((home / "compared" / "results.json").read_text())
    assert [cell["system"] for cell in results["cells"]] == ["base", "ntp"]
    assert results["cells"][1]["cost"]["trained"] > 0 and 0 <= results["cells"][1]["heldout"]["think_rate"] < 1
    assert "ra3 compare: small" in (home / "compared" / "compare.html").read_text()
    sheet = list(csv.DictReader((home / "compared" / "scores.csv").read_text().splitlines()))
    assert [(line["system"], line["seed"]) for line in sheet] == [("base", "1"), ("ntp", "1")]
    assert float(sheet[1]["trained"]) == results["cells"][1]["cost"]["trained"] and sheet[0]["trained"] == ""
    before = {path: path.stat().st_mtime_ns for path in (home / "compared").glob("*/files.json")}
    again = ra3(home, *words)
    assert "0 of them owed" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert results["code"] == {f"ra3 {version('ra3')} {fingerprint_code(Path(ra3_package.__file__).parent)}": 2}
    (home / "compared").rename(home / "elsewhere")
    assert "0 of them owed" in ra3(home, "compare", "small.toml", "--out", "elsewhere").stdout
    (home / "elsewhere").rename(home / "compared")
    config = home / "compared" / "ntp-1" / "config.json"
    own = config.read_text()
    config.write_text(own.replace('"opener": null,', ""))
    assert "0 of them owed" in ra3(home, *words).stdout  # an older version's run, and its settings were the same
    config.write_text(own)
    (home / "small.toml").write_text(SMALL.replace("max_new_tokens = 4", "max_new_tokens = 5"))
    changed = ra3(home, *words)
    assert changed.returncode == 2 and "eval.max_new_tokens: 4 -> 5" in changed.stderr
    (home / "small.toml").write_text(SMALL)
    damage_is_told_and_hides_nothing_else(home, words)


def damage_is_told_and_hides_nothing_else(home, words):
    """The comparison is finished; a file of one evaluation is changed."""
    for name, text in (
        ("results.json", None),
        ("results.json", "{}"),
        ("environment.json", '{"format": 2, "earlier": 5}'),
    ):
        file = home / "compared" / "ntp-1-eval" / name
        before = file.read_text()
        file.write_text(text) if text else file.unlink()
        ended = ra3(home, *words)
        assert ended.returncode == 2 and ended.stderr.count("ra3: ") == 1 and str(file.parent.name) in ended.stderr
        assert "restore it, or move that folder away" in ended.stderr and "| base |" in ended.stdout
        sheet = (home / "compared" / "scores.csv").read_text()
        assert "base" in sheet and "ntp" not in sheet
        file.write_text(before)
    ledger = home / "compared" / "ntp-1" / "ledger.jsonl"
    ledger.write_text(ledger.read_text() + "{torn\n")
    assert "ledger.jsonl has 1 lines that are no JSON objects" in ra3(home, *words).stderr


def test_a_comparison_that_is_stopped_stops_its_commands_and_goes_on(home):
    (home / "stopped.toml").write_text(SMALL)
    words = ["compare", "stopped.toml", "--out", "stopped"]
    running = Started(home, words)
    running.wait_until((home / "stopped/base-1-eval/config.json").exists, timeout_s=200)
    running.signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.returncode == 143 and "stopped" in ended.stderr
    assert not (home / "stopped/ntp-1").exists() and (home / "stopped/compare.html").exists()
    again = ra3(home, *words)
    assert again.returncode == 0 and "| ntp \u2212 base |" in again.stdout


def test_a_cell_that_fails_is_named_and_the_others_run(home):
    broken = SMALL.replace('method = "ntp"', 'method = "distilled"\ncorpus.path = "nowhere"')
    (home / "broken.toml").write_text(broken)
    ended = ra3(home, "compare", "broken.toml", "--out", "failed")
    assert ended.returncode == 2 and "distilled" not in ended.stderr and "ntp-1 ended with 2" in ended.stderr
    assert [c["system"] for c in json.loads((home / "failed" / "results.json").read_text())["cells"]] == ["base"]
