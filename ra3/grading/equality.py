"""Whether what a program gave is what was expected. Pure functions of encoded values and bytes; no guessing.

Values, ``strict``: same exact type and equal, at every depth (``True`` is not ``1``, a list is not a tuple). Where a
float is expected, a finite float within max(atol, rtol |expected|) will do; in the members of sets and the keys of
dicts it must be the same float. ``loose`` lets int and float stand for each other. ``python`` is what ``==`` says, and
where that is false and ``atol`` > 0, what EvalPlus asks: the same type outside, numbers within atol + rtol |expected|
inside. ``livecodebench`` and ``apps`` are ``python`` with what these benchmarks make of tuples and lists (``RULES``).
Output: the words, wherever lines end; ``loose`` compares a word by tolerance where a number with a point or an exponent
is expected. ``livecodebench``: line by line, each as text or as decimal numbers, white space around lines and around
all of it apart.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from ra3.sandbox.inside.values import canonical, parse_untrusted

TOLERANCE = 1e-6
NEVER_EQUAL = (b"NaN", b"Infinity", b'"obj"')
NUMBER = re.compile(rb"[-+]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+")
"""A number as contests write them: no underscore, no inf, no nan; time is linear in its length."""


@dataclass(frozen=True)
class Rule:
    """How close is equal. Example: ``Rule("python", atol=0.0, rtol=1e-7)`` for a problem of HumanEval+."""

    numbers: str = "strict"
    """strict, loose or python."""
    atol: float = TOLERANCE
    rtol: float = TOLERANCE
    lists: int = 0
    """Levels at which a tuple that a program gives counts as a list; 1: the value itself."""
    wrapped: bool = False
    """Where a list of one is expected, its member will do, too."""
    lines: bool = False
    """Output is compared by lines, not by words."""

    @staticmethod
    def of(meta: dict) -> "Rule":
        """Return a problem's own rule; without tolerances those of its kind."""
        rule = RULES[meta.get("numbers", "strict")]
        return replace(rule, **{key: meta[key] for key in ("atol", "rtol") if key in meta})

    def close(self, expected: float, actual: float) -> bool:
        """Both finite and |actual - expected| <= max(atol, rtol |expected|)."""
        return math.isfinite(expected) and abs(actual - expected) <= max(self.atol, self.rtol * abs(expected))


RULES = {
    "strict": Rule(),
    "loose": Rule("loose"),
    "python": Rule("python", 0.0, 1e-7),
    "livecodebench": Rule("python", 0.0, lists=1, lines=True),
    "apps": Rule("python", 0.0, lists=2, wrapped=True),
}
"""By the name that ``meta`` of a problem gives under ``numbers``."""
STRICT = RULES["strict"]


def same_value(expected: bytes, actual: bytes, rule: Rule = STRICT) -> bool:
    """Compare a test's encoded value with bytes that a program wrote, which may be anything."""
    if expected == actual and not any(word in expected for word in NEVER_EQUAL):
        return True
    try:
        wanted, given = parse_untrusted(expected), _as_lists(rule.lists, parse_untrusted(actual))
        forms = [wanted, *wanted] if rule.wrapped and type(wanted) is list and len(wanted) == 1 else [wanted]
        return any(_same(rule, form, given) or _all_close(form, given, rule) for form in forms)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
        return False


def _same(rule: Rule, expected, actual) -> bool:
    """Equal by the rule. KeyError for a tree without a tag and a content: ``values.encode`` did not write it."""
    python, same = rule.numbers == "python", partial(_same, rule)
    if (verdict := _same_number(rule, expected, actual)) is not None:
        return verdict
    if type(expected) is not type(actual):
        return False
    if type(expected) is list:
        return _pairwise(same, expected, actual)
    if type(expected) is not dict or expected.keys() != actual.keys():
        return expected == actual
    tag, wanted, given, key = expected["t"], expected["v"], actual["v"], _key if python else canonical
    if type(wanted) is not type(given) or not (actual["t"] == tag or python and {actual["t"], tag} == {"S", "F"}):
        return False
    if tag in ("T", "c"):
        return _pairwise(same, wanted, given)
    if tag in ("S", "F"):
        return sorted(map(key, wanted)) == sorted(map(key, given))
    return _by_key(key, same, wanted, given) if tag == "D" else tag in ("i", "b") and wanted == given


def _same_number(rule: Rule, expected, actual) -> bool | None:
    """Whether two numbers are the same by the rule; None if these are none to which a rule of numbers applies."""
    if rule.numbers == "python":
        numbers = _number(expected), _number(actual)
        return None if numbers == (None, None) else None not in numbers and numbers[0] == numbers[1]
    loose = rule.numbers == "loose"
    if type(expected) is float:
        return (type(actual) is float or (loose and type(actual) is int)) and rule.close(expected, actual)
    return actual == expected if loose and type(expected) is int and type(actual) is float else None


def _pairwise(same: Callable, wanted: list, given: list) -> bool:
    return len(wanted) == len(given) and all(map(same, wanted, given))


def _by_key(key: Callable, same: Callable, wanted: list, given: list) -> bool:
    """Match the items of two dicts by a string for each key: hashing a program's own keys could be made quadratic."""
    ours, theirs = ({key(name): value for name, value in items} for items in (wanted, given))
    if ours.keys() != theirs.keys() or len(given) != len(theirs):
        return False
    return all(same(value, theirs[name]) for name, value in ours.items())


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
    if rule.numbers != "python" or not rule.atol or type(expected) is not type(actual):
        return False
    if type(expected) is dict and expected["t"] != actual["t"]:
        return False
    return _near(rule.atol, rule.rtol, expected, actual)


def _near(atol: float, rtol: float, expected, actual) -> bool:
    wanted, given = _number(expected), _number(actual)
    if wanted is not None and given is not None:
        return wanted == given or abs(given - wanted) <= atol + rtol * abs(wanted) < math.inf
    ours, theirs = _items(expected), _items(actual)
    if type(ours) is not list or type(theirs) is not list:
        return False
    return _pairwise(partial(_near, atol, rtol), ours, theirs)


def _items(tree):
    """The list in a tree of a list or tuple; another tree is itself."""
    return tree["v"] if type(tree) is dict and tree["t"] == "T" else tree


def _as_lists(levels: int, tree):
    """The tree with lists for tuples, so many levels deep."""
    items = _items(tree) if levels else tree
    return [_as_lists(levels - 1, item) for item in items] if levels and type(items) is list else tree


def same_output(expected: str, actual: bytes, rule: Rule = STRICT) -> bool:
    """Compare a program's stdout with the expected text."""
    if rule.lines:
        texts = expected.strip(), actual.decode(errors="surrogateescape").strip()
        return _pairwise(_same_line, *(text.split("\n") for text in texts))
    wanted, given = expected.encode().split(), actual.split()
    return wanted == given or (rule.numbers == "loose" and _pairwise(partial(_same_word, rule), wanted, given))


def _same_line(wanted: str, given: str) -> bool:
    wanted, given = wanted.strip(), given.strip()
    try:
        return wanted == given or [*map(Decimal, wanted.split())] == [*map(Decimal, given.split())]
    except ArithmeticError:  # a word that is no number
        return False


def _same_word(rule: Rule, wanted: bytes, given: bytes) -> bool:
    if wanted == given:
        return True
    exact = wanted.lstrip(b"-+").isdigit() or not (NUMBER.fullmatch(wanted) and NUMBER.fullmatch(given))
    return not exact and rule.close(float(wanted), float(given))
