"""Values cross the border of the sandbox with their types, and are compared with them."""

from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import Enum, IntEnum, IntFlag
from fractions import Fraction
from time import perf_counter

import pytest
from hypothesis import given, strategies

from ra3.grading.equality import RULES, Rule, same_output, same_value
from ra3.sandbox import Job, Sandbox
from ra3.sandbox.inside import protocol, values
from ra3.sandbox.jobs import encode_inputs, read_frames

VALUES = [
    None, True, False, 0, -7, 10**14, 10**15, -(10**40), 1.5, -0.0, 1e300, "", "é\n\ud800", b"\x00\xff", 2 + 3j,
    [], [1, [2, []]], (), (1,), {}, {"t": "obj"}, {1: "a", (2, 3): [4]}, set(), {1, "a", (2,)}, frozenset({1}),
]  # fmt: skip


def test_values_cross_the_border_unchanged():
    jobs = [Job.call("def f(x):\n    return x\n", "f", [(value,) for value in VALUES])]
    with Sandbox(workers=1) as sandbox:
        (outcome,) = sandbox.run(jobs)
    for value, result in zip(VALUES, outcome.results, strict=True):
        assert result.value == value and type(result.value) is type(value)
        assert result.data == values.encode(value)


@pytest.mark.parametrize("value", [object(), range(3), iter([1]), {1: 2}.values(), Fraction(1), [{1: object()}]])
def test_other_values_have_no_plain_form(value):
    assert b'{"t":"obj"}' in values.encode(value)
    with pytest.raises(TypeError):
        encode_inputs([[value]])
    assert not same_value(values.encode(value), values.encode(value))


class Size(IntEnum):
    BIG = 3


class Right(IntFlag):
    READ = 4
    WRITE = 2


class Word(str, Enum):  # noqa: UP042
    YES = "yes"


class Liar(int):
    __eq__ = __ne__ = lambda self, other: True
    __hash__ = int.__hash__
    __index__ = __int__ = __neg__ = lambda self: 7


class Empty(list):
    __iter__ = __reversed__ = lambda self: iter(())


class Other(dict):
    items = keys = lambda self: [(1, 1)]


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Pair(1, Pair(2, [3])), (1, (2, [3]))), (Size.BIG, 3), (Right.READ | Right.WRITE, 6), (Word.YES, "yes"),
        (Liar(4), 4), (Liar(10**40), 10**40), (Empty([1]), [1]), (Other({2: Size.BIG}), {2: 3}),
        (type("S", (set,), {})({1}), {1}), (type("B", (bytes,), {"hex": str})(b"a"), b"a"), (bytearray(b"a"), b"a"),
        (type("F", (float,), {"__float__": lambda _: 1.0})(2.5), 2.5), (type("C", (complex,), {})(1j), 1j),
        (Counter("aab"), {"a": 2, "b": 1}), (OrderedDict(a=1), {"a": 1}), (defaultdict(int, a=1), {"a": 1}),
        ({1: 2, 3: 4}.keys(), frozenset({1, 3})), ({1: 2}.items(), frozenset({(1, 2)})),
        ({1: [2]}.keys(), frozenset({1})),
    ],
)  # fmt: skip
def test_an_instance_of_a_subclass_is_what_its_base_holds(value, base):
    assert values.encode(value) == values.encode(base)
    assert values.encode([value]) == values.encode([base])


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1, 1, True), (1, True, False), (True, 1, False), (0, False, False), (1, 1.0, False), (None, False, False),
        (1.0, 1, False), (1.0, 1.0000005, True), (1.0, 1.00001, False), (1e9, 1e9 + 1, True), (0.0, 1e-7, True),
        ([1, 2], (1, 2), False), ([1, 2], [1, 2], True), ([1, 2], [1, 2, 3], False), ([1.0], [1.0000001], True),
        ("1", 1, False), ("a", "a", True), (b"a", "a", False), ({1: 2.0, "a": 3}, {"a": 3, 1: 2.0}, True),
        ({1: 2}, {True: 2}, False), ({1: 2}, {1: 2, 2: 3}, False), ({1, 2}, {2, 1}, True), ({1}, frozenset({1}), False),
        (1j, 1.0000001j, True), ((1, (2.0,)), (1, (2.0,)), True), (10**30, 10**30, True), (10**30, 10**30 + 1, False),
    ],
)  # fmt: skip
def test_comparison_is_typed(expected, actual, same):
    assert same_value(values.encode(expected), values.encode(actual)) is same


def test_not_a_number_equals_nothing():
    for value in (float("nan"), float("inf"), [float("inf")]):
        assert not same_value(values.encode(value), values.encode(value))
    assert not same_value(values.encode(1e308), values.encode(float("inf")))


def test_loose_numbers_only_where_the_problem_says_so():
    assert same_value(values.encode([2]), values.encode([2.0]), Rule("loose"))
    assert same_value(values.encode(2.0), values.encode(2), Rule("loose"))
    assert not same_value(values.encode(2), values.encode(True), Rule("loose"))
    assert not same_value(values.encode(2), values.encode(2.0000001), Rule("loose"))


@pytest.mark.parametrize(
    ("expected", "actual", "atol", "same"),
    [
        (1, True, 0, True), (1, 1.0, 0, True), (1, 1 + 0j, 0, True), (1, "1", 0, False), (0, None, 0, False),
        ([1, 2], [1.0, 2], 0, True), ([1], (1,), 0, False), ({1}, frozenset({1.0}), 0, True), ({1}, {2}, 0, False),
        ({1: "a", (2, 3): 4}, {(2.0, 3): 4, True: "a"}, 0, True), ({1: 2}, {1: 3}, 0, False),
        ({1: 2}, {2: 2}, 0, False),
        ({(1, 2)}, {(12,)}, 0, False), (float("inf"), float("inf"), 0, True), (float("nan"), float("nan"), 0, False),
        (10**40, 10**40, 0, True), (10**40, 1e40, 0, False), (b"a", "61", 0, False), (b"a", b"a", 0, True),
        (1.0, 1.0000005, 0, False), (1.0, 1.0000005, 1e-6, True), (1.0, 1.00001, 1e-6, False),
        (1.0, 1.00001, 1e-4, True), (1, 1.0000005, 0, False),
        ([1.0, 2.0], [1.0000001, 2.0], 0, False), ([1.0, 2.0], [1.0000001, 2.0], 1e-6, True),
        ([1.0, 2.0], (1.0000001, 2.0), 1e-6, False),
        ([1, 2.0], [1, 2.0000001], 0, False), ([1, 2.0], [1, 2.0000001], 1e-6, True), ((1.0,), (1.0, 1.0), 0, False),
        ([[1.0], [2.0]], [[1.0], [2.0000001]], 0, False), ([[1.0], [2.0]], [[1.0], [2.0000001]], 1e-6, True),
        (1.0, float("nan"), 1, False), (1.0, float("inf"), 1, False), (float("inf"), 1.0, 1, False),
        ("a", "b", 1, False),
    ],
)  # fmt: skip
def test_equal_as_python_and_evalplus_see_it(expected, actual, atol, same):
    rule = Rule.of({"numbers": "python", "atol": atol})
    assert same_value(values.encode(expected), values.encode(actual), rule) is same


PLAIN = strategies.recursive(
    strategies.one_of(
        strategies.none(), strategies.booleans(), strategies.integers(-3, 3), strategies.integers(),
        strategies.floats(allow_nan=False), strategies.text(max_size=2), strategies.binary(max_size=2),
        strategies.complex_numbers(allow_nan=False),
    ),
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=3), strategies.lists(inner, max_size=3).map(tuple),
        strategies.dictionaries(strategies.one_of(strategies.integers(0, 2), strategies.booleans()), inner, max_size=3),
        strategies.frozensets(strategies.one_of(strategies.integers(0, 2), strategies.floats(0, 2)), max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip


@given(PLAIN, PLAIN)
def test_python_equality_agrees_with_python(left, right):
    for one, other in ((left, right), (left, left), (right, left)):
        assert same_value(values.encode(one), values.encode(other), RULES["python"]) is (one == other)


def test_a_tolerance_of_the_problem():
    rule = Rule.of({"atol": 0.1, "rtol": 0.0})
    assert same_value(values.encode([1.0]), values.encode([1.05]), rule)
    assert not same_value(values.encode([100.0]), values.encode([100.5]), rule)


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"[" * 10_000, b"1" * 5000, b"\xff", b'{"t":1}', b'{"t":[]}', b'{"t":"D","v":[[[1],2]]}', b'{"v":1}'],
)  # fmt: skip
def test_malformed_answers_are_wrong(data):
    for expected in (1, [1], {1: 2}, {1}, (1,)):
        assert not same_value(values.encode(expected), data)


@pytest.mark.parametrize(
    ("expected", "actual", "loose", "same"),
    [
        ("1 2\n3\n", b"1 2\n3", False, True), ("1 2\n3\n", b"1  2 \r\n3\n\n \n", False, True),
        ("1\n2\n", b"1 2", False, True), ("1\n\n2", b"\n1\n2", False, True), ("1 2", b"12", False, False),
        ("Yes", b"yes", False, False),
        ("", b"", False, True), ("1", b"", False, False), ("0.5", b"0.50", False, False),
        ("0.5 a", b"0.50 a", True, True), ("0.5", b"nan", True, False),
        ("0.5", b"0.51", True, False), ("1234567 0.5", b"1234566 0.5", True, False), ("12e3 5", b"12000 5", True, True),
        ("112.", b"112." + b"0" * 100 + b"e9", True, False), ("0.5", b"0." + b"4" + b"9" * 99, True, True),
        ("7e3", b"7_000", True, False),
        ("0.5", "\u0660.5".encode(), True, False), ("inf", b"inf", True, True),
        ("0.5", b"1e-1" + b"x" * 99, True, False), ("inf", b"1e999", True, False),
        ("\u2028", "\u2028".encode(), False, True),
    ],
)  # fmt: skip
def test_output_rule(expected, actual, loose, same):
    assert same_output(expected, actual, Rule("loose" if loose else "strict")) is same


def test_frames_of_a_program_are_not_believed():
    def frame(tag, body=b""):
        return protocol.FRAME.pack(len(body), tag) + body

    good = frame(b"v", b"1") + frame(b"e", b"KeyError")
    assert [result.error for result in read_frames(good + frame(b"d"), 2)[0]] == [None, "KeyError"]
    assert read_frames(good, 2)[1] == "error:ExitedEarly"
    for bad in (good + b"\x01", frame(b"v", b"12")[:-1], frame(b"x"), good + good + frame(b"d")):
        assert read_frames(bad, 2)[1] == "error:ProtocolError"
    for claim in (b"infra", b"passed", b"timeout", b"error:infra\n"):
        assert read_frames(frame(b"f", claim), 2)[1] in (f"error:{claim.decode()}", "error:Exception")


@pytest.mark.parametrize(
    "word", [b"9" * 10**6 + b"x", b"0." + b"3" * 10**6, b"1e" + b"9" * 10**6, b"." * 10**6, b"-" * 10**6]
)
def test_a_word_of_a_million_characters_costs_little(word):
    for rule in (RULES["loose"], RULES["livecodebench"]):
        start = perf_counter()
        assert not same_output("0.5", word, rule)
        assert perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("rule", "expected", "actual", "same"),
    [
        ("livecodebench", [1, 2], (1, 2), True), ("livecodebench", [[1], 2], [(1,), 2], False),
        ("livecodebench", [1], 1, False), ("livecodebench", 0.5, 0.5000001, False),
        ("livecodebench", 10**40, 10**40, True),
        ("apps", [1, 2], ((1), 2), True), ("apps", [[1, 2], [3]], ((1, 2), (3,)), True), ("apps", [[(1)]], [[1]], True),
        ("apps", [5], 5, True), ("apps", [5], [5], True), ("apps", [5], [[5]], False), ("apps", [5, 6], 5, False),
        ("apps", [], [], True), ("apps", [[]], [], True), ("apps", [[[1]]], [[(1,)]], False),
        ("apps", ["ab"], "ab", True),
        ("apps", [0.5], 0.5000001, False), ("apps", [None], None, True), ("apps", [[1, 2]], {1, 2}, False),
    ],
)  # fmt: skip
def test_what_benchmarks_make_of_tuples_and_lists(rule, expected, actual, same):
    assert same_value(values.encode(expected), values.encode(actual), RULES[rule]) is same
