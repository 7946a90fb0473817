"""The arguments of MBPP+ as Python values: its file is JSON, which has no tuples, sets or complex numbers.

Which task needs which form is a fact of the data set (EvalPlus 0.3.1, ``evalplus/data/mbpp.py``).
"""

from __future__ import annotations

from collections.abc import Callable

Arguments = list


def _each(convert: Callable) -> Callable[[Arguments], Arguments]:
    return lambda args: [convert(arg) for arg in args]


def _first(*converts: Callable) -> Callable[[Arguments], Arguments]:
    """The first arguments converted one by one, the others as they are."""
    return lambda args: [
        *(convert(arg) for convert, arg in zip(converts, args, strict=False)), *args[len(converts) :]
    ]  # fmt: skip


def _tuples(rows: list) -> list:
    return [tuple(row) for row in rows]


def _tuple_of_tuples(rows: list) -> tuple:
    return tuple(_tuples(rows))


def _mixed_tuple(items: list) -> tuple:
    return tuple(tuple(item) if isinstance(item, list) else item for item in items)


def _sets(items: list) -> list:
    """An empty list stands for an empty dict."""
    return [set(item) if isinstance(item, list) and item else {} for item in items]


def _dict_of_tuples(items: dict) -> dict:
    return {key: tuple(value) for key, value in items.items()}


def _deep_tuple(item):
    return tuple(_deep_tuple(member) for member in item) if isinstance(item, list) else item


def _same(item):
    return item


FORMS: list[tuple[Callable[[Arguments], Arguments], tuple[int, ...]]] = [
    (_each(tuple), (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740,
                    744, 809)),
    (_each(_tuples), (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)),
    (_first(_tuples), (75, 413, 444, 753)),
    (_first(_same, tuple), (106, 750)),
    (_first(_sets), (115,)),
    (_first(float, complex), (124,)),
    (_first(tuple), (250, 307, 405, 446, 617, 720, 763, 808)),
    (_first(complex), (252,)),
    (_each(_tuple_of_tuples), (259, 401, 445)),
    (_first(_mixed_tuple), (278,)),
    (_each(_deep_tuple), (580, 615, 791)),
    (_first(_dict_of_tuples), (722,)),
]  # fmt: skip
FORM_OF = {f"Mbpp/{number}": form for form, numbers in FORMS for number in numbers}


def deserialised(task_id: str, inputs: list[Arguments]) -> list[Arguments]:
    """The arguments of every test of a task; those of a task without a form stay as they are.

    Example: ``deserialised("Mbpp/106", [[[1], [2]]]) == [[[1], (2,)]]``
    """
    form = FORM_OF.get(task_id, list)
    return [form(arguments) for arguments in inputs]
