"""The sandbox on other hosts: the same verdicts, whoever dies in between; nobody without the key."""

import signal
import socket
import threading
import time

import pytest
from remote_server import SECRET, key_in, server

from ra3 import cli
from ra3.config.tree import Config
from ra3.errors import UserError
from ra3.grading.grade import Grader, grade
from ra3.grading.problems import CallTest, CheckedTest, JudgeTest, Problem, StdioTest
from ra3.sandbox import Job, Sandbox
from ra3.sandbox.link import Link, LinkError, accept, connect, parse_address, read_secret
from ra3.sandbox.parcels import pack_job, pack_outcome, unpack_job, unpack_outcome
from ra3.sandbox.remote import RemoteSandbox

REFERENCE = "def f(x):\n    return (7 * x + 3) % 11\n"
TESTS = [(x, (7 * x + 3) % 11) for x in (1, 4, 9)]
RULE = Problem("rule", "", "f", tuple(CallTest((x,), y) for x, y in TESTS))
SCRIPT = Problem("script", "", None, tuple(StdioTest(f"{x}\n", f"{y}\n") for x, y in TESTS))
JUDGED = Problem("judged", "", "f", (JudgeTest(f"for x, y in {TESTS}:\n    assert f(x) == y\n"),))
CHECKED = Problem("checked", "", None, (CheckedTest("3\n", "def check(i, o, r):\n    return o == i\n"),))
WORK = [
    (RULE, REFERENCE), (RULE, "def f(x):\n    return 3\n"), (RULE, "def f(x:\n"), (RULE, "import os\nos._exit(0)\n"),
    (RULE, "def f(x):\n    while True: pass\n"), (RULE, "x = 1\n" * 100_000), (RULE, "\ud800"),
    (RULE, "def f(x):\n    return bytearray(10**9)\n"), (SCRIPT, "print((7 * int(input()) + 3) % 11)\n"),
    (SCRIPT, "print(0)\n"), (JUDGED, REFERENCE), (JUDGED, "def f(x):\n    return object()\n"),
    (CHECKED, "print(input())\n"), (CHECKED, "print('1' * 10**6)\n"),
]  # fmt: skip
LIMITS = {"cpu_s": 0.5, "wall_s": 4.0, "memory_mb": 256}
KEY = b"k" * 32


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    return key_in(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def running(key_file):
    with server(key_file) as (_, address):
        yield address


def reasons(verdicts):
    return [verdict.reason for verdict in verdicts]


def test_verdicts_are_the_same_as_here(running):
    with Sandbox(workers=1, **LIMITS) as here, RemoteSandbox([running], SECRET, **LIMITS) as there:
        assert reasons(grade(there, WORK)) == reasons(grade(here, WORK))
        assert there.level[f"{running} python"] == here.level["python"]
        assert there.run([]) == [] and there.restarts == 0
        stream = there.stream([Job.stdio("", ""), Job.stdio("", "1")])
        next(stream)
        with pytest.raises(RuntimeError, match="another batch"):
            there.run([])
        stream.close()  # type: ignore[attr-defined]


def test_a_wrong_key_is_refused(running):
    with pytest.raises(UserError, match="no sandbox there"):
        RemoteSandbox([running], b"another secret of the tests")
    data = b""
    with socket.create_connection(parse_address(running), timeout=10) as sock:
        sock.sendall(b"\x10\0\0\0" + b"x" * 16)
        while chunk := sock.recv(4096):
            data += chunk
    assert b"nonce" in data and SECRET not in data and b"proof" not in data
    with pytest.raises(UserError, match="no sandbox there"):
        RemoteSandbox(["127.0.0.1:1"], SECRET)


def test_a_server_that_dies_in_mid_batch_costs_no_verdict(key_file):
    slow = "import time\ntime.sleep(0.02)\n"
    work = [(RULE, f"{slow}{REFERENCE if number % 3 else 'f = None'}# {number}\n") for number in range(60)]
    expected = ["passed" if number % 3 else "missing_entry_point" for number in range(60)]
    with (
        server(key_file) as (first, address),
        RemoteSandbox([address], SECRET, **LIMITS) as there,
        Grader(there) as grader,
    ):
        future = grader.submit(work)
        time.sleep(1.0)
        first.kill()
        first.wait()
        time.sleep(0.3)
        assert not future.done()
        with server(key_file, port=parse_address(address)[1]):
            assert reasons(future.result(timeout=60)) == expected
            assert there.restarts >= 1


def test_one_of_two_servers_is_enough(key_file, running):
    with server(key_file) as (second, address), RemoteSandbox([running, address], SECRET, **LIMITS) as there:
        assert there._workers == 2
        work = [(RULE, f"{REFERENCE}# {number}\n") for number in range(40)]
        second.send_signal(signal.SIGKILL)
        assert set(reasons(grade(there, work))) == {"passed"}


def test_jobs_that_reach_no_server_are_infra(key_file):
    with server(key_file) as (only, address), RemoteSandbox([address], SECRET, **LIMITS) as there:
        only.kill()
        outcomes = there.run([Job.stdio("print(1)", "")] * 2, deadline_s=1.0)
        assert [outcome.fault for outcome in outcomes] == ["infra", "infra"]


def test_a_job_that_is_sent_twice_runs_once(running):
    link = connect(*parse_address(running), SECRET)
    assert link.receive(10)["workers"] == 1  # type: ignore[index]
    job = Job.stdio("import time\nprint(time.time_ns())\n", "")
    parcel = {**pack_job(job), "cpu_s": 1, "wall_s": 4, "memory_mb": 256}
    outputs = []
    for _ in range(3):
        link.send({"jobs": [["the same", parcel]]})
        outputs.append(next_outcome(link).stdout)
    link.close()
    link = connect(*parse_address(running), SECRET)
    link.receive(10)
    link.send({"jobs": [["the same", parcel]]})
    assert {next_outcome(link).stdout, *outputs} == {outputs[0]} and outputs[0].strip().isdigit()
    link.send({"jobs": [["another", {**parcel, "kind": "shell"}]]})
    with pytest.raises(LinkError):
        next_outcome(link)
    link.close()


def next_outcome(link: Link):
    while True:
        message = link.receive(20)
        assert message is not None
        if message["outcomes"]:
            return unpack_outcome(message["outcomes"][0][1])


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        return left, listener.accept()[0]


def test_frames_that_were_tampered_with_end_the_connection():
    ours, theirs = pair()
    ends = Link(ours, KEY, KEY), Link(theirs, KEY, KEY)
    ends[0].send({"number": 1})
    assert ends[1].receive(1) == {"number": 1} and ends[1].receive(0) is None
    ends[0].send({"number": 2})
    frame = theirs.recv(4096)
    for bad in (frame[:-1] + b"]", frame.replace(b"2", b"3"), frame[:4] + b"\0" * 32 + frame[36:], b"\xff" * 40):
        left, right = pair()
        reader = Link(right, KEY, KEY)
        reader._received = 1
        left.sendall(bad)
        with pytest.raises(LinkError):
            reader.receive(1)
        left.close()
        reader.close()
    replayed = Link(theirs, KEY, KEY)
    ours.sendall(frame)
    with pytest.raises(LinkError, match="not genuine"):
        replayed.receive(1)
    ours.close()
    theirs.close()


def test_a_false_server_is_not_believed():
    refused = []

    def pretend():
        sock, _ = listener.accept()
        with sock, pytest.raises(OSError, match="wrong key") as caught:
            accept(sock, b"a key that was guessed")
        refused.append(caught.value)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(OSError, match="another key"):
            connect("127.0.0.1", listener.getsockname()[1], SECRET)
        thread.join()
    assert refused


def test_parcels_are_checked():
    job = Job("call", "\ud800", "f", b"\0\xff", 1, 10, 1.0, 128, 3.0)
    assert unpack_job(pack_job(job)) == job
    changes = ({"kind": "x"}, {"source": 1}, {"data": 3}, {"cpu_s": None}, {"cpu_s": 1e9}, {"memory_mb": 1}, {"x": 1})
    for change in changes:
        with pytest.raises(ValueError, match="job|base64"):
            unpack_job({**pack_job(job), **change})
    with Sandbox(workers=1) as sandbox:
        (outcome,) = sandbox.run([Job.call("def f(x):\n    return 1 // x\n", "f", [(1,), (0,)])])
    assert unpack_outcome(pack_outcome(outcome)) == outcome
    with pytest.raises(ValueError, match="malformed"):
        unpack_outcome({"results": 3})


def test_keys_and_addresses(tmp_path, capsys):
    path = tmp_path / "key"
    with pytest.raises(UserError, match="cannot read the key"):
        read_secret(path)
    path.write_text("short")
    path.chmod(0o644)
    with pytest.raises(UserError, match="others can read"):
        read_secret(path)
    path.chmod(0o600)
    assert cli.main(["sandbox-server", "--key-file", str(path)]) == 2
    assert "the key has 5 bytes" in capsys.readouterr().err
    path.write_bytes(SECRET)
    assert cli.main(["sandbox-server", "--key-file", str(path), "--listen", "nowhere"]) == 2
    assert "'nowhere' is no address" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"sandbox.servers is set without sandbox.key_file \(set key_file, too\)"):
        Config.model_validate({"sandbox": {"servers": ["a:1"]}})
    with pytest.raises(ValueError, match="sandbox.key_file is set without sandbox.servers"):
        Config.model_validate({"sandbox": {"key_file": "key"}})
