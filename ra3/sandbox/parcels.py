"""Jobs and outcomes as JSON, for a connection. What is malformed is a ValueError, whoever sent it."""

import base64
from dataclasses import asdict, fields

from ra3.sandbox.jobs import Job, Outcome, Result

KINDS = {
    "kind": str, "source": str, "entry_point": str | None, "tests": int, "max_output": int,
    "cpu_s": float | int, "wall_s": float | int, "memory_mb": int,
}  # fmt: skip
MOST_S, MOST_MB = 3600, 65536


def pack_job(job: Job) -> dict:
    """A job as JSON values."""
    return {**asdict(job), "data": _pack(job.data)}


def unpack_job(parcel: dict) -> Job:
    """The job that was packed, every limit of it set and in bounds."""
    if not isinstance(parcel, dict) or parcel.keys() != {field.name for field in fields(Job)}:
        raise ValueError("a job with other fields")
    if wrong := [name for name, kind in KINDS.items() if not isinstance(parcel[name], kind)]:
        raise ValueError(f"a job with a bad {wrong[0]}")
    job = Job(**{**parcel, "data": _unpack(parcel["data"])})
    if job.kind not in ("call", "stdio", "judge"):
        raise ValueError("a job of no kind")
    assert job.cpu_s is not None and job.wall_s is not None and job.memory_mb is not None
    if not (0 < job.cpu_s <= job.wall_s <= MOST_S and 64 <= job.memory_mb <= MOST_MB and job.max_output >= 0):
        raise ValueError("a job with limits out of bounds")
    return job


def pack_outcome(outcome: Outcome) -> dict:
    """An outcome as JSON values."""
    results = [[_pack(result.data), result.error] for result in outcome.results]
    return {**asdict(outcome), "results": results, "stdout": _pack(outcome.stdout)}


def unpack_outcome(parcel: dict) -> Outcome:
    """The outcome that was packed."""
    try:
        results = tuple(Result(_unpack(data), error) for data, error in parcel["results"])
        return Outcome(**{**parcel, "results": results, "stdout": _unpack(parcel["stdout"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"a malformed outcome: {error}") from error


def _pack(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unpack(text: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError("bytes that are not base64")
    return base64.b64decode(text, validate=True)
