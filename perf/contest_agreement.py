"""Our verdicts beside what the published graders of contest problems decide, answer by answer.

    python perf/contest_agreement.py [--every 1] [--workers 2]

The graders of LiveCodeBench, APPS, CodeContests and Codeforces are retold in tests/benchmarks/contest_oracle.py, which
also makes the answers: expected values in many writings, right, wrong and in between. What is judged otherwise is
listed by kind; each such kind is a row of the tables in docs/benchmarks.md.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests/benchmarks"))


def main() -> None:
    """Judges all answers by both and prints what differs."""
    from contest_oracle import ORACLES, disagreements  # pyright: ignore[reportMissingImports]

    from ra3.sandbox import Sandbox

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with Sandbox(options.workers) as sandbox, tempfile.TemporaryDirectory() as folder:
        for table in ORACLES:
            total, paid, differing = disagreements(table, Path(folder), sandbox, options.every)
            print(f"{table}: {total} answers, {paid} paid, {total - len(differing)} judged alike", flush=True)
            kinds = Counter((answer.kind, ours) for answer, ours in differing)
            for (kind, ours), times in sorted(kinds.items()):
                shown = next(answer.expected for answer, verdict in differing if (answer.kind, verdict) == (kind, ours))
                print(f"  {'paid here' if ours else 'paid there'}, {times} x: {kind}, such as for {shown.strip()!r}")


if __name__ == "__main__":
    main()
