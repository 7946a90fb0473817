"""What reading a corpus costs: CPU seconds and peak memory, each reading in a process of its own.

    python perf/corpus_reading.py stdlib .venv/lib/python3.11/site-packages   # as it is, filtered, as functions
    python perf/corpus_reading.py --made 1000   # tables of 1,000 MB: all of their documents, and the first 2,000

The tables that are made hold the standard library's files again and again, each time under another first line, so that
no two rows are the same; they lie in a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyarrow
from pyarrow import parquet

from ra3.data.corpus import read

STDLIB = sysconfig.get_paths()["stdlib"]
READINGS = {"as it is": {}, "filtered": {"filtered": True}, "functions": {"filtered": True, "unit": "function"}}
SHARD_ROWS = 4000


def main() -> None:
    """Read what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", help="folders or files; stdlib is Python's standard library")
    parser.add_argument("--made", type=int, default=0, help="make tables of this many million characters and read them")
    words = parser.parse_args()
    for path in words.corpora:
        for name, settings in READINGS.items():
            show(f"{path}, {name}", STDLIB if path == "stdlib" else path, settings)
    if words.made:
        with tempfile.TemporaryDirectory() as folder:
            for path in make_tables(Path(folder), words.made * 10**6):
                for documents in (0, 2000):
                    show(f"{path.name}, {documents or 'all'} documents", str(path), {"documents": documents})


def make_tables(folder: Path, size: int) -> list[Path]:
    """Write the same rows as JSON lines, packed JSON lines, a folder of Parquet shards and a saved data set."""
    import datasets  # the processes that read import this file, too, and should hold no more than they need

    lines, packed, shards, saved = (folder / name for name in ("rows.jsonl", "rows.jsonl.zst", "shards", "saved"))
    shards.mkdir()
    batch: list[str] = []
    with lines.open("wb") as plain, pyarrow.CompressedOutputStream(str(packed), "zstd") as zstandard:
        for number, text in enumerate(texts(size), 1):
            line = json.dumps({"content": text}).encode() + b"\n"
            plain.write(line)
            zstandard.write(line)
            batch.append(text)
            if number % SHARD_ROWS == 0:
                parquet.write_table(pyarrow.table({"content": batch}), shards / f"{number:08}.parquet")
                batch.clear()
    parquet.write_table(pyarrow.table({"content": batch}), shards / "last.parquet")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_parquet(str(shards / "*.parquet"), cache_dir=str(folder / "cache"))
    rows.save_to_disk(str(saved))
    return [lines, packed, shards, saved]


def texts(size: int) -> Iterator[str]:
    """Files of the standard library again and again, until there are ``size`` characters of them."""
    sources = [document.text for document in read(STDLIB, max_bad=1).documents]
    for turn in count():
        for source in sources:
            yield f"# {turn}\n{source}"
            size -= len(source)
            if size <= 0:
                return


def show(name: str, path: str, settings: dict) -> None:
    """Print what a reading gave and cost."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(f"{name}: {pool.apply(measure, (path, settings))}", flush=True)


def measure(path: str, settings: dict) -> str:
    """Read a corpus in this process and say what that cost."""
    start = time.process_time()
    summary = read(path, max_bad=1, **settings).summary()
    status = Path("/proc/self/status").read_text()  # getrusage would have the peak of the process that began this one
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return f"{summary}; {time.process_time() - start:.1f} s, peak {peak:,.0f} MiB"


if __name__ == "__main__":
    main()
