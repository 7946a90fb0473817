"""Disks that are full, read-only or forbidden, made for real, as in tests/run/test_faults.py."""

from __future__ import annotations

import os
import shutil

import pytest
from cli_runs import ra3
from injections import ordinary_user, remount, small_files
from small_runs import midtrain, refused, same, went_on


def test_a_limit_on_the_size_of_files(home, whole):
    refused(ra3(home, *midtrain("limited"), prepare=small_files), "the file would be larger than is allowed here")
    went_on(home, midtrain("limited"), whole)


def test_a_read_only_disk(home, whole, disk):
    words = midtrain("readonly", "--run.out", disk)
    remount(disk, "ro")
    refused(ra3(home, *words), "the file system is read-only", "choose another place (run.out)")
    remount(disk, "rw,size=300k")
    refused(ra3(home, *words), "the disk is full", "kept:", "--resume")
    remount(disk, "ro")
    refused(ra3(home, *words, "--resume"), "the file system is read-only")
    remount(disk, "rw,size=8m")
    assert ra3(home, *words, "--resume").returncode == 0
    same(disk / "readonly", whole)


@pytest.mark.skipif(os.environ.get("RA3_FULL") != "1", reason="many runs; RA3_FULL=1")
@pytest.mark.timeout(3600)
def test_a_disk_of_any_size(home, whole, disk):
    """Wherever the disk fills up, the message is clear and the run goes on."""
    full = 0
    for size in range(4, 1400, 30):
        words = midtrain(f"size-{size}", "--run.out", disk)
        remount(disk, f"rw,size={size}k")
        ended = ra3(home, *words)
        if ended.returncode:
            refused(ended, "the disk is full", "kept:")
            full += 1
        remount(disk, "rw,size=8m")
        assert ra3(home, *words, "--resume").returncode == 0
        same(disk / f"size-{size}", whole)
        shutil.rmtree(disk / f"size-{size}")
    assert full > 20


def test_permission_denied(home):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    (home / "closed").mkdir(mode=0o755)
    os.chmod(home, 0o777)
    told = ra3(home, *midtrain("denied", "--run.out", "closed", "--model", "functions"), prepare=ordinary_user)
    refused(told, "permission denied", "change the permissions or choose another place (run.out)")
