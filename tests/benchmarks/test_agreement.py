"""Our verdicts beside the published graders of contest problems: they differ only where docs/benchmarks.md says so."""

import pytest
from contest_oracle import ORACLES, disagreements

DECIDED: dict[str, dict[bool, set[str]]] = {
    "LiveCodeBench": {False: set(), True: set()},
    "APPS": {
        False: {
            "1e-4 off", "4e-6 off", "a no-break space", "a word more", "a wrong last character",
            "first member as a tuple",
            "integers as decimals", "integers one off", "integers seven off", "its first member", "its own argument",
            "leading zeros", "lines in another order", "twice", "underscores", "words in another order",
        },
        True: {"a line for each word", "all on one line", "all tuples", "members as tuples"},
    },
    "CodeContests": {
        False: {
            "4e-6 off", "a wrong last character", "integers as decimals", "integers one off", "integers seven off",
            "leading zeros", "lower case", "upper case",
        },
        True: set(),
    },
    "Codeforces": {False: set(), True: set()},
}  # fmt: skip
"""By table, and whether ours pays: the kinds of answers that the page says are judged otherwise."""


@pytest.mark.parametrize("table", ORACLES)
def test_what_is_judged_otherwise_is_decided(table, tmp_path, one_server):
    total, paid, differing = disagreements(table, tmp_path, one_server, every=7)
    assert total >= 100 and 0 < paid < total
    undecided = {(answer.kind, ours) for answer, ours in differing if answer.kind not in DECIDED[table][bool(ours)]}
    assert undecided == set()
