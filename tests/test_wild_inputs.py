"""The short form of `python tests/wild_inputs.py --minutes 30`: any input gives a result or a message."""

import pytest
from wild_inputs import CHECKS, run


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_any_input(check):
    for number in range(2):  # a check can be run again and again
        run(check, 30, number)
