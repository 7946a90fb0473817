"""What the tests of corpora share: writing small files, and why rows were refused."""

import json

from ra3.data.corpus import read

GOOD = {"text": "x = 1\n"}


def write(folder, **files):
    """Writes {"a__py": "text"} as a.py; bytes as they are."""
    for name, content in files.items():
        path = folder / name.replace("__", ".").replace("_in_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def jsonl(folder, *rows, name="rows.jsonl"):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / name).write_bytes(b"\n".join(lines) + b"\n")
    return folder / name


def reasons(corpus):
    """{place: reason}, the place as file:line without folders."""
    return {row.where.rpartition("/")[2]: row.reason for row in corpus.quarantine}


def only_reason(path, **keys):
    """Why the single bad row of a file was refused."""
    (row,) = read(path, max_bad=1, **keys).quarantine
    return row.reason
