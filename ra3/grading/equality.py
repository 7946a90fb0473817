"""Whether what a program gave is what was expected. Pure functions of encoded values and bytes; no guessing.

Values, ``strict``: same exact type and equal, at every depth (``True`` is not ``1``, a list is not a tuple). Where a
float is expected, a finite float within max(atol, rtol |expected|) will do; in the members of sets and the keys of
dicts it must be the same float. ``loose`` lets int and float stand for each other. ``python`` is what ``==`` says, and
where that is false, what EvalPlus asks: if ``atol`` > 0, or a float or a list or tuple of floats is expected (then
``atol`` is 1e-6 if it is 0), the same type outside and numbers within atol + rtol |expected| inside.
Output: line by line, trailing blank lines dropped, the words of each line equal; ``loose`` also compares words that
are finite numbers by tolerance.
"""

import math
from dataclasses import dataclass

from ra3.sandbox.inside.values import canonical, parse_untrusted

TOLERANCE = 1e-6
EVALPLUS_RTOL = 1e-7
NUMBERS = ("strict", "loose", "python")
NEVER_EQUAL = (b"NaN", b"Infinity", b'"obj"')


@dataclass(frozen=True)
class Rule:
    """How close is equal. Example: ``Rule("python", atol=0.0, rtol=1e-7)`` for a problem of HumanEval+."""

    numbers: str = "strict"
    """One of NUMBERS."""
    atol: float = TOLERANCE
    rtol: float = TOLERANCE

    @staticmethod
    def of(meta: dict) -> "Rule":
        """A problem's own rule; without tolerances those of its kind."""
        numbers = meta.get("numbers", "strict")
        atol, rtol = (0.0, EVALPLUS_RTOL) if numbers == "python" else (TOLERANCE, TOLERANCE)
        return Rule(numbers, meta.get("atol", atol), meta.get("rtol", rtol))

    def close(self, expected: float, actual: float) -> bool:
        """Both finite and |actual - expected| <= max(atol, rtol |expected|)."""
        if not (math.isfinite(expected) and math.isfinite(actual)):
            return False
        return abs(actual - expected) <= max(self.atol, self.rtol * abs(expected))


STRICT = Rule()


def same_value(expected: bytes, actual: bytes, rule: Rule = STRICT) -> bool:
    """Compare a test's encoded value with bytes that a program wrote, which may be anything."""
    if expected == actual and not any(word in expected for word in NEVER_EQUAL):
        return True
    try:
        wanted, given = parse_untrusted(expected), parse_untrusted(actual)
        if rule.numbers == "python":
            return _equal(wanted, given) or _all_close(wanted, given, rule)
        return _same(wanted, given, rule)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
        return False


def _same(expected, actual, rule: Rule) -> bool:
    loose = rule.numbers == "loose"
    if type(expected) is float:
        return (type(actual) is float or (loose and type(actual) is int)) and rule.close(expected, actual)
    if type(expected) is not type(actual):
        return loose and type(expected) is int and type(actual) is float and actual == expected
    if type(expected) is list:
        return _same_items(expected, actual, rule)
    if type(expected) is dict:
        return expected.keys() == actual.keys() and _same_tagged(expected, actual, rule)
    return expected == actual


def _same_items(expected: list, actual: list, rule: Rule) -> bool:
    return len(expected) == len(actual) and all(_same(*pair, rule) for pair in zip(expected, actual, strict=True))


def _same_tagged(expected: dict, actual: dict, rule: Rule) -> bool:
    """Only trees that ``values.encode`` wrote have a tag and a content and nothing else; KeyError for any other."""
    tag, wanted, given = expected["t"], expected["v"], actual["v"]
    if actual["t"] != tag or type(wanted) is not type(given):
        return False
    if tag in ("T", "c"):
        return _same_items(wanted, given, rule)
    if tag in ("S", "F"):
        return len(wanted) == len(given) and _strings(wanted) == _strings(given)
    if tag == "D":
        return _same_dict(wanted, given, rule)
    return wanted == given


def _strings(members: list) -> set[str]:
    """Sets are matched by their members' strings: hashing a program's own values could be made quadratic."""
    return {canonical(member) for member in members}


def _same_dict(wanted: list, given: list, rule: Rule) -> bool:
    ours = {canonical(key): value for key, value in wanted}
    theirs = {canonical(key): value for key, value in given}
    if ours.keys() != theirs.keys() or len(given) != len(theirs):
        return False
    return all(_same(value, theirs[key], rule) for key, value in ours.items())


def _number(tree) -> complex | int | None:
    """The number that a tree stands for."""
    if type(tree) in (bool, int, float):
        return tree
    if type(tree) is dict and tree["t"] == "i":
        return int(tree["v"], 16)
    if type(tree) is dict and tree["t"] == "c":
        real, imag = tree["v"]
        return complex(real, imag)
    return None


def _equal(expected, actual) -> bool:
    """Python's ``==`` of what two trees stand for."""
    wanted, given = _number(expected), _number(actual)
    if wanted is not None or given is not None:
        return wanted is not None and given is not None and wanted == given
    if type(expected) is not type(actual):
        return False
    if type(expected) is list:
        return _equal_items(expected, actual)
    if type(expected) is not dict:
        return expected == actual
    tag, wanted, given = expected["t"], expected["v"], actual["v"]
    if tag in ("S", "F"):
        return actual["t"] in ("S", "F") and sorted(map(_key, wanted)) == sorted(map(_key, given))
    if tag != actual["t"]:
        return False
    if tag == "T":
        return _equal_items(wanted, given)
    if tag == "D":
        ours, theirs = ({_key(key): value for key, value in items} for items in (wanted, given))
        if len(theirs) != len(given) or ours.keys() != theirs.keys():
            return False
        return all(_equal(value, theirs[key]) for key, value in ours.items())
    return tag == "b" and type(given) is str and wanted == given


def _equal_items(expected: list, actual: list) -> bool:
    return len(expected) == len(actual) and all(map(_equal, expected, actual))


def _key(tree) -> str:
    """One string for all members of a set, or keys of a dict, that Python takes for the same."""
    number = _number(tree)
    if number is not None:
        if type(number) is complex and number.imag == 0:
            number = number.real
        if type(number) is float and number.is_integer():
            number = int(number)
        return f"{number:x}" if isinstance(number, int) else repr(number)
    if type(tree) is not dict:
        return canonical(tree)
    tag, content = tree["t"], tree["v"]
    inside = [_key(item) for item in content] if tag in ("T", "S", "F") else [canonical(content)]
    if tag in ("S", "F"):
        tag, inside = "S", sorted(inside)
    return f"{canonical(tag)}({','.join(inside)})"


def _all_close(expected, actual, rule: Rule) -> bool:
    """EvalPlus' second look: same type and length, then every number within atol + rtol |expected|."""
    items = _items(expected)
    floats = all(type(item) is float for item in (items if type(items) is list else [items]))
    atol = rule.atol or (TOLERANCE if floats else 0.0)
    if not atol or type(expected) is not type(actual):
        return False
    if type(expected) is dict and expected["t"] != actual["t"]:
        return False
    return _near(expected, actual, atol, rule.rtol)


def _near(expected, actual, atol: float, rtol: float) -> bool:
    wanted, given = _number(expected), _number(actual)
    if wanted is not None and given is not None:
        return wanted == given or abs(given - wanted) <= atol + rtol * abs(wanted) < math.inf
    ours, theirs = _items(expected), _items(actual)
    if type(ours) is not list or type(theirs) is not list or len(ours) != len(theirs):
        return False
    return all(_near(*pair, atol, rtol) for pair in zip(ours, theirs, strict=True))


def _items(tree):
    """The list in a tree of a list or tuple; another tree is itself."""
    return tree["v"] if type(tree) is dict and tree["t"] == "T" else tree


def same_output(expected: str, actual: bytes, rule: Rule = STRICT) -> bool:
    """Compare a program's stdout with the expected text."""
    wanted, given = _lines(expected.encode()), _lines(actual)
    if len(wanted) != len(given):
        return False
    return all(_same_line(*pair, rule) for pair in zip(wanted, given, strict=True))


def _lines(data: bytes) -> list[list[bytes]]:
    return [line.split() for line in data.rstrip().split(b"\n")]


def _same_line(wanted: list[bytes], given: list[bytes], rule: Rule) -> bool:
    if wanted == given:
        return True
    if rule.numbers != "loose" or len(wanted) != len(given):
        return False
    return all(left == right or _near_word(left, right, rule) for left, right in zip(wanted, given, strict=True))


def _near_word(wanted: bytes, given: bytes, rule: Rule) -> bool:
    try:
        return rule.close(float(wanted), float(given[:64]))
    except ValueError:
        return False
