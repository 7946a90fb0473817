"""Lines of ordinary scripts that ask a little more of the system than a program needs: they work as on any machine."""

import sys

import pytest
from verdict_reason import reason

from ra3.grading.problems import CallTest, Problem, StdioTest
from ra3.sandbox import Sandbox

SQUARE = Problem("square", "", None, tuple(StdioTest(f"{x}\n", f"{x * x}\n") for x in (3, 9)))
DOUBLE = Problem("double", "", "f", (CallTest((4,), 8),))
BOM = "\ufeff"
PRINT = "print(int(input()) ** 2)\n"
DEEP = "def down(n):\n    return n and 1 + down(n - 1)\n"
IN_THREAD = "thread = threading.Thread(target=lambda: print(int(input()) ** 2))\nthread.start()\nthread.join()\n"
STACK = "import resource\nresource.setrlimit(resource.RLIMIT_STACK, {})\n"
UNLIMITED = "resource.RLIM_INFINITY"
ANY = f"({UNLIMITED}, {UNLIMITED})"
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's places")
SCRIPTS = {
    "stdin by its place": "print(int(open('/dev/stdin').read()) ** 2)\n",
    "stdin by number": "print(int(open('/dev/fd/0').readline()) ** 2)\n",
    "stdin of the process": "import io\nprint(int(io.open('/proc/self/fd/0', 'rb').read()) ** 2)\n",
    "stdout by its place": "open('/dev/stdout', 'w').write(str(int(input()) ** 2))\n",
    "stderr by its place": f"print('x', file=open('/dev/stderr', 'w'))\n{PRINT}",
    "a larger stack": STACK.format("(1 << 29, 1 << 29)") + PRINT,
    "a larger stack, as now the most": STACK.format("(1 << 28, resource.getrlimit(resource.RLIMIT_STACK)[1])") + PRINT,
    "any stack": STACK.format(ANY) + PRINT,
    "any stack, and its use": f"{STACK.format(ANY)}import sys\nsys.setrecursionlimit(10**6)\n{DEEP}down(9**5)\n{PRINT}",
    "a thread of 512 MiB": f"import threading\nthreading.stack_size(1 << 29)\n{IN_THREAD}",
    "a thread of 1 GiB": f"import threading\nthreading.stack_size(1 << 30)\n{IN_THREAD}",
    "a thread of 512 MiB by the lower module": f"import threading, _thread\n_thread.stack_size(1 << 29)\n{IN_THREAD}",
    "the template of contests": "import sys, threading\nsys.setrecursionlimit(1 << 25)\nthreading.stack_size(1 << 29)\n"
    f"{DEEP}def main():\n    assert down(10_000) == 10_000\n    {PRINT}threading.Thread(target=main).start()\n",
    "a byte order mark": BOM + PRINT,
    "a mark and CRLF": BOM + PRINT.replace("\n", "\r\n"),
    "a mark and the coding": f"{BOM}# -*- coding: utf-8 -*-\n{PRINT}",
    "a mark and the future": f"{BOM}from __future__ import annotations\n{PRINT}",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as running:
        yield running


@linux
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_run_as_elsewhere(sandbox, name):
    assert reason(sandbox, SQUARE, SCRIPTS[name]) == "passed"


def test_a_mark_before_a_function_is_none_of_the_program(sandbox):
    assert reason(sandbox, DOUBLE, f"{BOM}def f(x):\n    return 2 * x\n") == "passed"
    assert reason(sandbox, DOUBLE, f"{BOM}{BOM}def f(x):\n    return 2 * x\n") == "syntax"


def test_a_size_of_stack_is_told_as_it_was_set(sandbox):
    source = "import threading\ndef f(x):\n    threading.stack_size(1 << 20)\n    return threading.stack_size() >> 17\n"
    assert reason(sandbox, DOUBLE, source) == "passed"
    assert reason(sandbox, DOUBLE, "import threading\nf = threading.stack_size\n") == "error:ValueError"  # 4 bytes


def test_memory_is_as_limited_as_before(sandbox):
    hoard = "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY,) * 2)\n"
    assert reason(sandbox, DOUBLE, f"{hoard}def f(x):\n    return len(bytearray(1 << 30))\n") == "memory"
