"""Mistakes with folders, and Ctrl-C at odd moments, through the command line: one message that helps, nothing lost."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from cli_runs import ra3
from small_runs import copy, midtrain, refused, went_on

from ra3.commands.annotated_folder import placeable
from ra3.data.documents import Document
from ra3.errors import LONGEST_LINE, UserError
from ra3.run.stopping import Stopped, StopRequest, stopping_at_once


def test_a_run_folder_in_another_place(home, whole):
    refused(ra3(home, *midtrain("x", "--model", whole)), "this is a run folder, not a model", f"--model {whole}/model")
    refused(ra3(home, "midtrain", whole), "`ra3 runs show", "prints the command that goes on with it")
    other = [word if word != "midtrain" else "rlvr" for word in midtrain("whole", "--resume")]
    refused(ra3(home, *other), "one of `ra3 midtrain`, not of `ra3 rlvr`")


def test_damaged_notes_stop_no_run(home, whole):
    folder = copy(whole, "no-notes")
    (folder / "environment.json").write_text("[")
    went_on(home, midtrain("no-notes"), whole)
    assert json.loads((folder / "environment.json").read_text())["command"] == "midtrain"


def test_a_model_is_not_saved_in_silence(home, whole):
    folder = copy(whole, "taken")
    shutil.rmtree(folder / "model")
    (folder / "model").write_text("mine")
    refused(ra3(home, *midtrain("taken", "--resume")), "cannot save the model: a file of that name is in the way")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_swallows_stops_before_the_first_step(signum):
    with stopping_at_once():
        with pytest.raises(KeyboardInterrupt):  # as an import of a library would, and go on
            signal.raise_signal(signum)
        with pytest.raises(Stopped) as stopped, StopRequest():
            pass
    assert stopped.value.signum == signum


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_at_once(), StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            stop.raise_if_asked()
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_two_documents_share_an_annotated_file():
    ids = ["a:1", "a/1", "a", "a/1/b", "manifest.jsonl", "x" * 300, "b"]
    good, bad = placeable([Document(name, "x = 1\n") for name in ids])
    assert [document.id for document in good] == ["a:1", "b"]
    assert [row.where for row in bad] == ids[1:6]
    assert bad[0].reason == "its file a/1 is in the way of a:1"
    assert bad[4].reason == "its id is too long for a file name"


def test_a_damaged_annotated_folder_is_mended_or_told(home):
    rows = [json.dumps({"id": name, "text": "x = 1\ny = 2\n"}) for name in "ab"]
    (home / "pair.jsonl").write_text("\n".join(rows))
    words = ["annotate", "--model", "tiny", "--corpus", "pair.jsonl", "--run.threads", 1, "--out", "pair", "--resume"]
    assert ra3(home, *words).returncode == 0
    texts = {name: (home / "pair" / name).read_bytes() for name in ("manifest.jsonl", "a", "b")}
    broken = ['{"id": 3}', "[]", '{"id": "a", "sha256": 1, "latents": "x"}', '{"latents": [[1]]}']
    (home / "pair/manifest.jsonl").write_text("\n".join(broken))
    (home / "pair/b").write_text("changed")
    assert ra3(home, *words).returncode == 0
    assert {name: (home / "pair" / name).read_bytes() for name in texts} == texts
    (home / "pair/.annotation.json").write_text("{")
    refused(ra3(home, *words), "this file is no valid JSON", ".annotation.json")


def test_a_message_stays_short():
    message = str(UserError("x" * 10**6, allowed="y" * 10**6))
    assert len(message) < 3 * LONGEST_LINE and message.startswith("xxx") and "[...]" in message
