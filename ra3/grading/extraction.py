"""The program in a model's reply: one rule for training and evaluation.

What stands before the last ``</think>`` is reasoning and does not count. Of the rest, the program is the last closed
fenced block that is marked as Python or not marked at all; a reply without one holds no program.
"""

import re

REASONING_ENDS = "</think>"
FENCE = re.compile(r"^[ \t]*(`{3,})[ \t]*([\w+.-]*)[^`\n]*$")
PYTHON = {"", "python", "python3", "py"}


def fenced_program(reply: str) -> str:
    """The last closed Python block of a reply, "" if there is none.

    Example: ``fenced_program("Here:\\n```python\\nx = 1\\n```\\n") == "x = 1\\n"``
    """
    found, block, mark, wanted = "", None, "", False
    for line in reply.rpartition(REASONING_ENDS)[2].splitlines(keepends=True):
        fence = FENCE.match(line.rstrip("\r\n"))
        if block is None:
            if fence:
                block, mark, wanted = [], fence[1], fence[2].lower() in PYTHON
        elif fence and not fence[2] and len(fence[1]) >= len(mark):
            found, block = "".join(block) if wanted else found, None
        else:
            block.append(line)
    return found
