"""Public benchmarks as problems: their files, prompts, tests, stop strings and rules of comparison."""

from ra3.benchmarks.registry import BENCHMARKS, Benchmark, Loaded, load_benchmark, named

__all__ = ["BENCHMARKS", "Benchmark", "Loaded", "load_benchmark", "named"]
