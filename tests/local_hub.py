"""A Hugging Face hub on this machine: data sets and models from a folder.

It has the parts of the real one's HTTP API that are read.

The client is the published one, pointed here with HF_ENDPOINT.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "5" * 40
RESOLVED = re.compile(r"(datasets/)?(?P<repository>[^/]+/[^/]+)/resolve/(?P<commit>[0-9a-f]{40})/(?P<file>.+)")


class Hub(ThreadingHTTPServer):
    """Serves ``folder/OWNER/NAME/...`` as data sets and as models; ``asked`` lists the paths that clients asked for."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.asked = folder, list[str]()
        self.commit = COMMIT
        """That of every branch; all others have the same files."""

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.server.asked.append(path)
        if path.startswith(("api/datasets/", "api/models/")):
            self._tell(*path.split("/")[2:6])
        elif found := RESOLVED.fullmatch(path):
            self._send(read(self.server.folder / found["repository"] / found["file"]), found["commit"])
        else:
            self._send(read(self.server.folder / path))

    do_HEAD = do_GET

    def _tell(self, owner: str, name: str, what: str = "", revision: str = "") -> None:
        """What is in a repository: its commit, or the list of its files."""
        folder = self.server.folder / owner / name
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        tree = [
            {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": _oid(file)}
            for file in files
        ]
        commit = revision if len(revision) == 40 else self.server.commit
        about = {"id": f"{owner}/{name}", "sha": commit, "siblings": [{"rfilename": entry["path"]} for entry in tree]}
        self._send(json.dumps(tree if what == "tree" else about).encode() if files else None)

    def _send(self, body: bytes | None, commit: str = COMMIT) -> None:
        content = b"" if body is None else body
        self.send_response(404 if body is None else 200)
        for name, value in (
            ("Content-Length", str(len(content))),
            ("ETag", f'"{hashlib.sha1(content).hexdigest()}"'),
            ("X-Repo-Commit", commit),
        ):
            self.send_header(name, value)
        if body is None:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


def read(file: Path) -> bytes | None:
    """What is in a file; None where there is none."""
    return file.read_bytes() if file.is_file() else None


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A hub that serves while the block runs."""
    with Hub(folder) as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
