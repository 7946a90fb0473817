"""Whether what a program gave is what was expected. Pure functions of encoded values and bytes; strict, no guessing.

Values: same exact type and equal, at every depth (``True`` is not ``1``, a list is not a tuple). Where a float is
expected, a finite float within 1e-6, absolute or relative, will do; in the members of sets and the keys of dicts it
must be the same float. ``loose`` (a problem's ``meta["numbers"] == "loose"``) lets int and float stand for each other.
Output: line by line, trailing blank lines dropped, the words of each line equal; ``loose`` also compares words that
are finite numbers within 1e-6.
"""

import math

from ra3.sandbox.inside.values import canonical, parse_untrusted

TOLERANCE = 1e-6
NEVER_EQUAL = (b"NaN", b"Infinity", b'"obj"')


def same_value(expected: bytes, actual: bytes, loose: bool = False) -> bool:
    """Compare a test's encoded value with bytes that a program wrote, which may be anything."""
    if expected == actual and not any(word in expected for word in NEVER_EQUAL):
        return True
    try:
        return _same(parse_untrusted(expected), parse_untrusted(actual), loose)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _same(expected, actual, loose) -> bool:
    if type(expected) is float:
        return (type(actual) is float or (loose and type(actual) is int)) and close(expected, actual)
    if type(expected) is not type(actual):
        return loose and type(expected) is int and type(actual) is float and actual == expected
    if type(expected) is list:
        return _same_items(expected, actual, loose)
    if type(expected) is dict:
        return expected.keys() == actual.keys() and _same_tagged(expected, actual, loose)
    return expected == actual


def _same_items(expected: list, actual: list, loose) -> bool:
    return len(expected) == len(actual) and all(_same(*pair, loose) for pair in zip(expected, actual, strict=True))


def _same_tagged(expected: dict, actual: dict, loose) -> bool:
    """Only trees that ``values.encode`` wrote have a tag and a content and nothing else; KeyError for any other."""
    tag, wanted, given = expected["t"], expected["v"], actual["v"]
    if actual["t"] != tag or type(wanted) is not type(given):
        return False
    if tag in ("T", "c"):
        return _same_items(wanted, given, loose)
    if tag in ("S", "F"):
        return len(wanted) == len(given) and _strings(wanted) == _strings(given)
    if tag == "D":
        return _same_dict(wanted, given, loose)
    return wanted == given


def _strings(members: list) -> set[str]:
    """Sets are matched by their members' strings: hashing a program's own values could be made quadratic."""
    return {canonical(member) for member in members}


def _same_dict(wanted: list, given: list, loose) -> bool:
    ours = {canonical(key): value for key, value in wanted}
    theirs = {canonical(key): value for key, value in given}
    if ours.keys() != theirs.keys() or len(given) != len(theirs):
        return False
    return all(_same(value, theirs[key], loose) for key, value in ours.items())


def close(expected: float, actual: float) -> bool:
    """Both finite, and within TOLERANCE of the expected number, absolutely or relatively."""
    if not (math.isfinite(expected) and math.isfinite(actual)):
        return False
    return abs(actual - expected) <= TOLERANCE * max(1.0, abs(expected))


def same_output(expected: str, actual: bytes, loose: bool = False) -> bool:
    """Compare a program's stdout with the expected text."""
    wanted, given = _lines(expected.encode()), _lines(actual)
    if len(wanted) != len(given):
        return False
    return all(_same_line(*pair, loose) for pair in zip(wanted, given, strict=True))


def _lines(data: bytes) -> list[list[bytes]]:
    return [line.split() for line in data.rstrip().split(b"\n")]


def _same_line(wanted: list[bytes], given: list[bytes], loose) -> bool:
    if wanted == given:
        return True
    pairs = zip(wanted, given, strict=False)
    return loose and len(wanted) == len(given) and all(left == right or _near(left, right) for left, right in pairs)


def _near(wanted: bytes, given: bytes) -> bool:
    try:
        return close(float(wanted), float(given[:64]))
    except ValueError:
        return False
