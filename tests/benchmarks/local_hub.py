"""A Hugging Face hub on this machine: data sets from a folder, over the parts of the real one's HTTP API that are read.

The client is the published one, pointed here with HF_ENDPOINT.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "5" * 40


class Hub(ThreadingHTTPServer):
    """Serves ``folder/OWNER/NAME/...`` as data sets; ``asked`` lists the paths that clients asked for."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.asked = folder, list[str]()

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
        if path.startswith("api/datasets/"):
            self._tell(*path.removeprefix("api/datasets/").split("/")[:3])
        elif f"/resolve/{COMMIT}/" in path:
            repository, _, file = path.removeprefix("datasets/").partition(f"/resolve/{COMMIT}/")
            self._send((self.server.folder / repository / file).read_bytes())
        else:
            self._send((self.server.folder / path).read_bytes() if (self.server.folder / path).is_file() else None)

    do_HEAD = do_GET

    def _tell(self, owner: str, name: str, what: str) -> None:
        """What is in a data set: its commit, or the list of its files."""
        folder = self.server.folder / owner / name
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        tree = [
            {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": _oid(file)}
            for file in files
        ]
        about = {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": [{"rfilename": entry["path"]} for entry in tree]}
        self._send(json.dumps(tree if what == "tree" else about).encode() if files else None)

    def _send(self, body: bytes | None) -> None:
        content = b"" if body is None else body
        self.send_response(404 if body is None else 200)
        for name, value in (
            ("Content-Length", str(len(content))),
            ("ETag", f'"{hashlib.sha1(content).hexdigest()}"'),
            ("X-Repo-Commit", COMMIT),
        ):
            self.send_header(name, value)
        if body is None:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


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
