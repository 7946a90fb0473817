"""The problems of HumanEval+ and MBPP+ that several answers solve: their rules, as tests that a judge runs.

The rules are EvalPlus 0.3.1's (``evalplus/eval/_special_oracle.py``). ``CASES`` holds (arguments, expected).
"""

from __future__ import annotations

from collections.abc import Sequence

from ra3.grading.problem_tests import JudgeTest, is_plain

SAME_SET = """
    assert set(out) == set(expected)
"""
NOT_NONE = """
    expected = expected is not None
    assert out == expected if isinstance(out, bool) else expected == (out is not None)
"""
ANYTHING = """
    pass
"""
OR_ZERO = """
    assert out == expected or out == 0
"""
PADDED_DIGITS = """
    first, second = map(str, args)
    width = max(len(first), len(second))
    pairs = zip(first.zfill(width), second.zfill(width))
    assert out == expected or out == sum(abs(int(a) - int(b)) for a, b in pairs)
"""
PYRAMID = """
    base, height = args
    surface = round(base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2))
    near = atol > 0 and type(out) is type(expected) and abs(out - expected) <= atol + 1e-7 * abs(expected)
    assert out == expected or abs(out - surface) <= atol or near
"""
ROOT = """
    (coefficients,) = args
    assert abs(sum(c * math.pow(out, i) for i, c in enumerate(coefficients))) <= atol
"""

RULES = {
    "find_zero": ROOT,
    "are_equivalent": ANYTHING,
    "sum_div": OR_ZERO,
    "digit_distance_nums": PADDED_DIGITS,
    "surface_Area": PYRAMID,
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), NOT_NONE),
    **dict.fromkeys(
        ("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
         "intersection_array", "find_dissimilar", "Diff"),
        SAME_SET,
    ),
}  # fmt: skip


def oracle_test(entry_point: str, cases: Sequence[tuple], atol: float) -> JudgeTest | None:
    """The test of a problem with a rule of its own; None for any other. ValueError for a value that is not plain."""
    rule = RULES.get(entry_point)
    if rule is None:
        return None
    if rule is NOT_NONE:
        cases = [(args, None if expected is None else True) for args, expected in cases]
    if rule is ROOT:
        cases = [(args, None) for args, _ in cases]
    if not is_plain(list(cases)):
        raise ValueError("its reference gives a value that is not plain data")
    source = f"import math\n\ninf, atol = math.inf, {atol!r}\nCASES = {list(cases)!r}\nfor args, expected in CASES:\n"
    return JudgeTest(f"{source}    out = {entry_point}(*args)\n{rule.lstrip(chr(10))}")
