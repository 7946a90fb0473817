"""Exceptions whose names are not what they are."""


class StopIteration(BaseException):
    pass


class ProgramError(BaseException):
    pass


type.__setattr__(ProgramError, "__name__", "StopIteration")
type.__setattr__(ProgramError, "__qualname__", "infra")


def f(x):
    raise ProgramError if x % 2 else StopIteration
