"""Runs and the versions of the code: what an older run's settings mean now, and which code made a number."""

from __future__ import annotations

from ra3.run.fingerprints import of_code
from ra3.run.folder import config_changes


def test_every_source_file_counts_in_the_fingerprint_of_the_code(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    found = [of_code(tmp_path)]
    for name, text in (("a/x.py", "2"), ("y.py", ""), ("a/y.py", "")):
        (tmp_path / name).write_text(text)
        found.append(of_code(tmp_path))
    (tmp_path / "notes.txt").write_text("no code")
    assert len(set(found)) == 4 and of_code(tmp_path) == found[-1]


def test_a_setting_that_an_older_version_did_not_have_is_its_default():
    older, newer = {"run": {"seed": 1}}, {"run": {"seed": 1, "threads": 0}, "model": {"opener": None}}
    assert config_changes(older, newer) == config_changes(newer, older) == []
    assert config_changes(older, {**newer, "model": {"opener": "<plan>"}}) == ['model.opener: (not set) -> "<plan>"']
    assert config_changes({**older, "gone": 3}, newer) == ["gone: 3 -> (not set)"]
