"""The error for a person who uses ra3: a wrong file, setting or value. The command line prints it and exits with 2."""

import json

NO_MEMORY = (
    *("out of memory", "can't allocate memory", "cannot allocate memory"),
    *("can't start new thread", "failed to map segment from shared object"),
    *("could not create a primitive", "could not execute a primitive", "could not create a memory"),  # oneDNN
)
"""What libraries say when there is no memory left, in many errors that are no ``MemoryError``."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether this error, of whatever type, says that memory has run out."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in NO_MEMORY)


LONGEST_LINE = 2000
"""Characters of one line of a message: what somebody wrote into a file may be of any length."""


class UserError(ValueError):
    """One clear message built from what is wrong, where, what is allowed, and how to mend it.

    Example: UserError("'cpu_s' is -1", where="recipe.toml:7", allowed="a number above 0", fix="remove the line")
    reads    "recipe.toml:7: 'cpu_s' is -1\n  allowed: a number above 0\n  fix: remove the line".
    """

    def __init__(self, what: str, where: str | None = None, allowed: str | None = None, fix: str | None = None):
        self.what, self.where, self.allowed, self.fix = what, where, allowed, fix
        first = f"{where}: {what}" if where else what
        rest = [f"\n  {label}: {text}" for label, text in (("allowed", allowed), ("fix", fix)) if text]
        super().__init__("\n".join(map(shortened, (first + "".join(rest)).split("\n"))))

    def __reduce__(self):
        """Keep the four parts when the error crosses a process border."""
        return type(self), (self.what, self.where, self.allowed, self.fix)


def shortened(line: str) -> str:
    """The line, without its middle where it is too long to be read."""
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} [...] {line[-half:]}"


def shown(value: object) -> str:
    """Return JSON's text of a value for a message, cut short."""
    try:
        return json.dumps(value, default=str)[:80]
    except ValueError:  # Python writes no integer so long
        return "an integer of more than 4300 digits"
