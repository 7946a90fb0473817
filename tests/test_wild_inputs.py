"""The short form of `python tests/wild_inputs.py --minutes 30`: any input gives a result or a message."""

import pytest
from wild_inputs import CHECKS, run


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_any_input(check):
    run(check, examples=60)
