"""Runs programs that nobody has read. ``ra3.grading.grade`` turns their outcomes into verdicts."""

from ra3.sandbox.forkserver import SandboxError
from ra3.sandbox.jobs import Job, Outcome, Result
from ra3.sandbox.pool import LAYERS, Sandbox

__all__ = ["LAYERS", "Job", "Outcome", "Result", "Sandbox", "SandboxError"]
