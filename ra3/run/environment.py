"""What a run ran on: versions, code, platform, cores, command line and the commit of the working directory."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ("ra3", "torch", "transformers", "tokenizers", "safetensors", "datasets", "numpy", "pydantic")


def environment(command: str, resume: str, attempt: int, earlier: dict) -> dict:
    """What this attempt runs on; the attempts before it are kept under "earlier"."""
    former = [*earlier.get("earlier", []), {k: v for k, v in earlier.items() if k != "earlier"}] if earlier else []
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "attempt": attempt,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command,
        "argv": sys.argv,
        "resume": resume,
        "versions": {"python": platform.python_version(), **_versions()},
        "code": fingerprint(Path(__file__).parent.parent),
        "platform": platform.platform(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "git": _git(),
        "earlier": former,
    }


def fingerprint(package: Path) -> str:
    """12 hex digits of all source files in a folder: which code made a number, also where no repository tells."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict | None:
    """Commit of the working directory and whether it has changes on top; None outside a repository or without git."""
    try:
        commit, status = (
            subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(status)}
