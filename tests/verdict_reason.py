"""Why a sandbox pays for one program, or does not."""

from ra3.grading.grade import grade
from ra3.grading.problems import Problem
from ra3.sandbox import Sandbox


def reason(sandbox: Sandbox, problem: Problem, completion: str) -> str:
    """The reason of the verdict, which is "passed" just where the verdict pays."""
    (verdict,) = grade(sandbox, [(problem, completion)])
    assert verdict.passed is (verdict.reason == "passed")
    return verdict.reason
