"""The sandbox's servers: they die, hang, are renewed and end, and no verdict is lost or invented."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest
from verdict_reason import reason

from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.grading.problems import CallTest, JudgeTest, Problem
from ra3.sandbox import Job, Sandbox, SandboxError
from ra3.sandbox.forkserver import ForkServer
from ra3.sandbox.inside import seccomp

REFERENCE = "def f(x):\n    return (7 * x + 3) % 11\n"
RULE = Problem("rule", "", "f", tuple(CallTest((x,), (7 * x + 3) % 11) for x in (1, 4, 9, 123)))


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, cpu_s=0.8, wall_s=4.0, memory_mb=256) as running:
        yield running


def test_a_batch_deadline_ends_the_batch():
    with Sandbox(workers=1) as slow:
        jobs = [Job.call(f"def f(x):\n    import time\n    time.sleep(5)\n# {n}\n", "f", [(1,)]) for n in range(3)]
        start = time.monotonic()
        outcomes = slow.run(jobs, deadline_s=0.5)
        assert time.monotonic() - start < 3 and {outcome.fault for outcome in outcomes} == {"infra"}
        assert reason(slow, RULE, REFERENCE) == "passed"


def servers(sandbox) -> list[ForkServer]:
    return list(sandbox._servers.values())


def test_a_dead_server_costs_no_verdict():
    with Sandbox(workers=2) as fragile:
        os.kill(servers(fragile)[0].pid, signal.SIGKILL)
        work = [(RULE, f"{REFERENCE}# {number}\n") for number in range(10)]
        assert {verdict.reason for verdict in grade(fragile, work)} == {"passed"}
        assert fragile.restarts == 1


def test_a_hanging_server_costs_no_verdict(monkeypatch):
    monkeypatch.setattr("ra3.sandbox.running.KILL_GRACE_S", 0.2)
    with Sandbox(workers=1, cpu_s=0.3, wall_s=0.5) as fragile:
        os.kill(servers(fragile)[0].pid, signal.SIGSTOP)
        assert reason(fragile, RULE, REFERENCE) == "passed"
        assert fragile.restarts == 1


def test_a_judge_may_end_before_its_program_has_begun():
    no_call = Problem("no call", "", "f", (JudgeTest("if f is None:\n    f(1)\n", ()),))
    with Sandbox(workers=1) as late:
        assert reason(late, no_call, "f = lambda x: x\n") == "error:NoCallMade"
        server = late._servers["program", 0].pid
        os.kill(server, signal.SIGSTOP)
        Timer(0.5, os.kill, (server, signal.SIGCONT)).start()
        assert reason(late, no_call, "f = lambda x: 2 * x\n") == "error:NoCallMade"
        assert late.restarts == 0


@pytest.mark.parametrize("after", [1, 2], ids=["its own", "the host's"])
def test_a_program_that_the_kernel_kills_for_the_hosts_want_of_memory_runs_again(monkeypatch, tmp_path, after):
    counters = tmp_path / "vmstat"
    counters.write_text("nr_free_pages 7\noom_kill 1\n")
    monkeypatch.setattr("ra3.sandbox.pool.KERNEL_COUNTERS", counters)
    with Sandbox(workers=1, layers=(), forced=True) as running:  # with a call filter nothing can kill itself so
        Timer(0.5, counters.write_text, [f"nr_free_pages 7\noom_kill {after}\n"]).start()
        victim = "def f(x):\n    import os, time\n    time.sleep(1)\n    os.kill(os.getpid(), 9)\n"
        assert reason(running, RULE, victim) == "memory" and running.restarts == after - 1


def test_lasting_faults_are_infra_and_masked(monkeypatch):
    with Sandbox(workers=1) as broken:
        monkeypatch.setattr(ForkServer, "receive", lambda self: (_ for _ in ()).throw(SandboxError("nonsense")))
        (verdict,) = grade(broken, [(RULE, REFERENCE)])
        assert verdict.passed is None and verdict.reason == "infra"
        monkeypatch.undo()
        assert reason(broken, RULE, REFERENCE) == "passed"


def test_servers_are_renewed(monkeypatch):
    monkeypatch.setattr("ra3.sandbox.pool.JOBS_PER_SERVER", 10)
    with Sandbox(workers=1) as renewed:
        work = [(RULE, f"{REFERENCE}# {number}\n") for number in range(25)]
        assert {verdict.reason for verdict in grade(renewed, work)} == {"passed"} and renewed.restarts == 2


def descendants(pid: int) -> list[int]:
    """The children, and theirs, of a process, zombies included."""
    direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return direct + [deeper for child in direct for deeper in descendants(child)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_behind(sandbox):
    bad = "import os, sys\ndef f(x):\n    os._exit(3)\n"
    work = [(RULE, f"{REFERENCE if number % 4 else bad}# {number}\n") for number in range(100)]
    grade(sandbox, work[:8])
    own, theirs = os.listdir("/proc/self/fd"), os.listdir(f"/proc/{servers(sandbox)[0].pid}/fd")
    folders = list(Path("/tmp").glob("ra3-*"))
    grade(sandbox, work)
    assert os.listdir("/proc/self/fd") == own and os.listdir(f"/proc/{servers(sandbox)[0].pid}/fd") == theirs
    assert all(descendants(server.pid) == [] for server in servers(sandbox))
    assert list(Path("/tmp").glob("ra3-*")) == folders


ORPHANS = """
import sys
from ra3.sandbox import Job, Sandbox
sandbox = Sandbox(workers=1, wall_s=60, layers=tuple(sys.argv[1:]), forced=True)
print(sandbox._servers["program", 0].pid, flush=True)
sandbox.run([Job.call("import time\\ndef f(x):\\n    time.sleep(60)\\n", "f", [(1,)])])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("layers", [(), ("seccomp", "landlock", "namespaces")], ids=["limits only", "all layers"])
def test_programs_end_with_the_supervisor(layers):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ORPHANS, *layers]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    server = int(trainer.stdout.readline())  # type: ignore[union-attr]
    processes = wait_until(lambda: descendants(server)) + [server]
    trainer.kill()
    trainer.communicate()
    assert wait_until(lambda: not any(alive(pid) for pid in processes))


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, seconds=5.0):
    """The condition's value once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("many", [0, 14, 300])
def test_a_program_has_no_descriptor_but_its_own(many):
    """Its result, and nothing or /dev/null in the three places of the standard streams."""
    source = "import os\ndef f(x):\n    found = []\n    for fd in range(x):\n        try:\n            os.fstat(fd)\n"
    source += "            found.append(fd)\n        except OSError:\n            pass\n    return found\n"
    with ExitStack() as opened:
        for _ in range(many):
            opened.enter_context(open(os.devnull))
        with Sandbox(workers=1) as crowded:
            (outcome,) = crowded.run([Job.call(source, "f", [(1000,)])])
            assert outcome.results[0].value == [0, 1, 2, 3]
            assert reason(crowded, RULE, REFERENCE) == "passed"


def test_settings_are_checked():
    for bad in ({"workers": 0}, {"cpu_s": 0}, {"wall_s": 0.1}, {"memory_mb": 1}, {"layers": ("magic",)}):
        with pytest.raises(UserError, match="sandbox: "):
            Sandbox(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "wall_s"), [({}, 6), ({"cpu_s": 9}, 27), ({"cpu_s": 0.5, "wall_s": 0.5}, 0.5)])
def test_the_clock_gives_three_times_the_cpu_seconds(given, wall_s):
    with Sandbox(workers=1, **given) as sandbox:
        assert sandbox.limits.wall_s == wall_s


def test_one_batch_at_a_time(sandbox):
    stream = sandbox.stream([Job.stdio("", ""), Job.stdio("1", "")])
    next(stream)
    with pytest.raises(RuntimeError, match="another batch"):
        sandbox.run([])
    stream.close()
    assert sandbox.run([]) == []
    closed = Sandbox(workers=1)
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.run([])


def test_a_server_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr("ra3.sandbox.forkserver.BOOT", "raise RuntimeError('no such luck')")
    with pytest.raises(SandboxError, match="no such luck"):
        Sandbox(workers=1)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and root")
def test_root_without_any_layer_is_refused():
    with pytest.raises(UserError, match="namespaces off: switched off; landlock off: switched off"):
        Sandbox(workers=1, layers=())


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and root")
def test_root_never_runs_programs(sandbox):
    assert sandbox.level["user"].startswith("root changed to ")
    source = "import os\ndef f():\n    return list(os.getresuid() + os.getresgid()) + os.getgroups()\n"
    (outcome,) = sandbox.run([Job.call(source, "f", [()])])
    uids = outcome.results[0].value
    assert 0 not in uids and len(set(uids)) == 1
    refuse = f"{sys.executable} -c 'from ra3.sandbox import Sandbox; Sandbox(workers=1)'"
    command = ["setpriv", "--bounding-set=-setuid,-setgid", "sh", "-c", refuse]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert "programs would run as root" in done.stderr


def test_the_level_is_recorded(sandbox):
    layers = {"namespaces", "landlock", "seccomp", "limits", "user"}
    assert layers | {"python", "system", "machine", "imports", "denied"} <= set(sandbox.level)
    assert all(isinstance(text, str) for text in sandbox.level.values())


def test_layers_can_be_switched_off():
    with Sandbox(workers=1, layers=("seccomp",)) as some:
        assert some.level["landlock"] == some.level["namespaces"] == "off: switched off"
        assert reason(some, RULE, REFERENCE) == "passed"
        if some.level["seccomp"] == "on":
            write = "def f(x):\n    open('/tmp/ra3-attack-canary', 'w')\n"
            assert reason(some, RULE, write) == "error:PermissionError"


HEADERS = {0: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 1: "/usr/include/asm-generic/unistd.h"}


@pytest.mark.parametrize("column", HEADERS)
def test_call_numbers_agree_with_the_kernel_headers(column):
    if not Path(HEADERS[column]).exists():
        pytest.skip("no kernel headers here")
    words = [line.split() for line in Path(HEADERS[column]).read_text().splitlines() if line.startswith("#define __NR")]
    names = {word[1].removeprefix("__NR3264_").removeprefix("__NR_"): word[2] for word in words if word[2].isdigit()}
    tables = {**seccomp.REFUSED, **seccomp.REFUSED_TO_CHILDREN, **seccomp.UNREADABLE, **seccomp.CHECKED}
    for name, numbers in tables.items():
        assert str(numbers[column]) == names.get(name, "None"), name
