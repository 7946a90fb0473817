"""Public benchmarks as problems: where their files come from (``registry``), how their rows become prompts and tests by
the official rules (``humaneval_mbpp``, ``evalplus``, ``contests``), the samples of a file and the programs that solve
nothing, ready to be graded (``samples``), and what training text shares with benchmarks (``contamination``)."""

from ra3.benchmarks.registry import BENCHMARKS, Loaded, load_benchmark, named

__all__ = ["BENCHMARKS", "Loaded", "load_benchmark", "named"]
