"""Plain typed values as JSON, both ways: the only form in which a value crosses the border of the sandbox.

``None``, ``bool``, ``str``, ``int`` below 10^15, ``float`` and ``list`` are themselves. Everything else is an object
with a tag ``t`` and a content ``v``; a dict is always tagged, so no data of a program can look like a tag.

    i  large int, in hex     T  tuple        D  dict, list of [key, value]     S, F  set, frozenset, sorted
    b  bytes, in hex         c  complex      obj  anything else: equal to nothing

An instance of a subclass (a named tuple, a member of an ``IntEnum``, a ``Counter``) is written as what it holds for its
builtin base, read by the base's own methods: what the subclass says of itself, such as its ``__eq__``, does not count.
Keys and items of a dict are sets, a ``bytearray`` is bytes.
"""

import json
from functools import partial

MAX_DEPTH = 200
SMALL_INT = 10**15
MAX_NUMBER_CHARS = 32
OPAQUE = {"t": "obj"}
NO_VALUE = b'{"t":"obj"}'
_quote = json.encoder.encode_basestring_ascii
_chunks = json.encoder.c_make_encoder(None, None, _quote, None, ":", ",", False, False, True)  # type: ignore[misc]
"""What ``JSONEncoder.encode`` makes anew for every value: no check of circles, no indent, short separators."""


def encode(value) -> bytes:
    """The bytes of a value; whatever has no plain form is written as ``obj``. Equal bytes mean equal typed values."""
    try:
        return "".join(_chunks(to_wire(value), 0)).encode("ascii")
    except (RecursionError, RuntimeError):
        return NO_VALUE


def to_wire(value, depth=0):
    """The JSON tree of a value, with ``obj`` in the places that have no plain form."""
    kind = type(value)
    if kind is str or kind is bool or kind is float or value is None:
        return value
    if kind is int:
        return value if -SMALL_INT < value < SMALL_INT else {"t": "i", "v": format(value, "x")}
    if depth >= MAX_DEPTH:
        return OPAQUE
    if convert := CONVERTERS.get(kind):
        return convert(value, depth + 1)
    base = next((base for base in kind.__mro__ if base in BASES), None)
    return to_wire(BASES[base](value), depth) if base else OPAQUE


def _dict(value, depth):
    return {"t": "D", "v": [[to_wire(key, depth), to_wire(item, depth)] for key, item in value.items()]}


def _set(value, depth):
    members = [to_wire(item, depth) for item in value]
    return {"t": "S" if type(value) is set else "F", "v": sorted(members, key=canonical)}


CONVERTERS = {
    list: lambda value, depth: [to_wire(item, depth) for item in value],
    tuple: lambda value, depth: {"t": "T", "v": [to_wire(item, depth) for item in value]},
    dict: _dict,
    **dict.fromkeys((set, frozenset, type({}.keys()), type({}.items())), _set),
    bytes: lambda value, depth: {"t": "b", "v": value.hex()},
    complex: lambda value, depth: {"t": "c", "v": [value.real, value.imag]},
}
BASES = {
    int: int.__int__, float: float.__float__, str: str.__str__, complex: complex.__pos__,
    list: lambda value: [*list.__iter__(value)], tuple: lambda value: (*tuple.__iter__(value),),
    dict: lambda value: dict(dict.items(value)), set: lambda value: {*set.__iter__(value)},
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    bytes: lambda value: bytes(bytes.__iter__(value)), bytearray: lambda value: bytes(bytearray.__iter__(value)),
}  # fmt: skip
"""By class, what makes the builtin value of an instance of a subclass."""


def canonical(tree) -> str:
    """One string for one tree: for sorting and for matching members of sets and keys of dicts."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"))


def from_wire(tree):
    """The Python value of a tree. ValueError, TypeError or KeyError if it is not well formed."""
    if type(tree) is list:
        return [from_wire(item) for item in tree]
    return RESTORERS[tree["t"]](tree.get("v")) if type(tree) is dict else tree


RESTORERS = {
    "i": lambda tree: int(tree, 16),
    "T": lambda tree: tuple(from_wire(tree)),
    "D": lambda tree: dict(from_wire(item) for item in tree),
    "S": lambda tree: set(from_wire(tree)),
    "F": lambda tree: frozenset(from_wire(tree)),
    "b": bytes.fromhex,
    "c": lambda tree: complex(*tree),
    "obj": lambda tree: object(),  # equal to no other
}


def whole_number(text: str) -> int:
    """Read a decimal integer of any length: ``int`` refuses more than 4,300 digits, as its time grows with their
    square."""
    if len(text) <= 4000:
        return int(text)
    if text.startswith("-"):
        return -whole_number(text[1:])
    half = len(text) // 2
    return whole_number(text[:-half]) * 10**half + whole_number(text[-half:])


def parse_untrusted(data: bytes):
    """The tree behind bytes that a program wrote. ValueError for anything that is not a small well-formed tree."""
    try:
        return json.loads(data, parse_int=partial(_short_number, int), parse_float=partial(_short_number, float))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _short_number(kind, text):
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError("a number with too many digits")
    return kind(text)
