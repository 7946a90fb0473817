"""Very many programs in a row, one in ten hostile, servers killed now and then: is a verdict wrong, is anything left?

    python perf/sandbox_soak.py [--programs 100000] [--workers 2] [--kills 20] [--claims 0.2]

The hostile ones are those of tests/sandbox/attacks that end by themselves. With ``--claims`` they are a share of the
programs, all of which want to be taken for a failure of the sandbox: ``infra_...``, at once when defined, when called,
and from a thread, called by the sandbox and by a judge; none may be without a verdict. Prints a line per tenth, with
resident memory and open descriptors of this process and of the servers, their children and temporary folders; exits
with 1 if a verdict was wrong or lost, a process or a folder is left, or descriptors or memory (by more than a fifth)
have grown since the first tenth.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("tests", "tests/sandbox"))

import attack_suite  # pyright: ignore[reportMissingImports]
from processes import children, open_files, resident_kb  # pyright: ignore[reportMissingImports]

from ra3.grading.grade import grade
from ra3.sandbox import LAYERS, Sandbox

ENDLESS = {"bomb_busy_threads", "bomb_ignore_signals", "bomb_hash_collisions", "answer_endless"} | attack_suite.SLOW
CHUNK = 200
PLACES = (
    "",
    "f(0)\n",
    """
import threading
attack = f
def f(x):
    thread = threading.Thread(target=attack, args=(x,))
    thread.start()
    thread.join()
""",
)
"""What follows the source of a claim: nothing, so that it is made when called; at once; from a thread."""


@dataclass(frozen=True)
class Vitals:
    """What must not grow."""

    own_kb: int
    server_kb: int
    own_files: int
    server_files: int
    children: int
    folders: int

    @staticmethod
    def of(sandbox: Sandbox) -> "Vitals":
        """Of this process and of the greatest of its servers."""
        servers = [server.pid for server in sandbox._servers.values() if not server.closed]
        return Vitals(
            resident_kb(os.getpid()),
            max(map(resident_kb, servers)),
            open_files(os.getpid()) - len(servers),  # one socket each; judges are started when first needed
            max(map(open_files, servers)) if os.geteuid() == 0 else 0,  # only root is shown them
            len(children(os.getpid())) - len(servers) + sum(len(children(server)) for server in servers),
            len(os.listdir(tempfile.gettempdir())),
        )


def work(count: int, seed: int, claims: float) -> tuple[list, list[bool]]:
    """Attempts, and which of them are right; every one differs, so that each is run."""
    draw = random.Random(seed)
    names = [name for name in attack_suite.attacks(LAYERS, slow=False) if name not in ENDLESS]
    if claims:
        names = [name for name in attack_suite.attacks(LAYERS) if name.startswith("infra_")]
    attempts, right = [], []
    for number in range(count):
        good = draw.random() >= (claims or 0.1)
        name = draw.choice(names)
        source = attack_suite.REFERENCE if good else (attack_suite.FOLDER / f"{name}.py").read_text()
        problem = attack_suite.CALL if good else attack_suite.problem_of(name)
        if claims and not good:
            source, problem = source + draw.choice(PLACES), draw.choice([problem, attack_suite.JUDGE])
        attempts.append((problem, f"{source}\n# {seed} {number}\n"))
        right.append(good)
    return attempts, right


def kill_one(sandbox: Sandbox, draw: random.Random):
    """Kill one server."""
    os.kill(draw.choice([server for server in sandbox._servers.values() if not server.closed]).pid, signal.SIGKILL)


def soak(programs: int, workers: int, kills: int, claims: float) -> bool:
    """Whether all held."""
    draw, wrong, start = random.Random(0), [], time.monotonic()
    chunks = max(10, programs // CHUNK)
    limits = attack_suite.LIMITS | ({"wall_s": 1.0} if claims else {})  # most claims wait for the clock
    size, every = programs // chunks, max(1, chunks // max(1, kills))
    print(f"{'programs':>9}{'per s':>7}{'restarts':>9}{'wrong':>6}  own kB  server kB  files  theirs  strays  folders")
    with Sandbox(workers=workers, forced=True, **limits) as sandbox:
        reference: Vitals | None = None
        for chunk in range(chunks):
            attempts, right = work(size, chunk, claims)
            if kills and chunk % every == every - 1:
                kill_one(sandbox, draw)
            verdicts = grade(sandbox, attempts)
            wrong += [verdict for verdict, good in zip(verdicts, right, strict=True) if verdict.passed is not good]
            if (chunk + 1) % max(1, chunks // 10) == 0:
                now = Vitals.of(sandbox)
                reference = reference or now
                done = (chunk + 1) * size
                line = f"{done:9}{done / (time.monotonic() - start):7.0f}{sandbox.restarts:9}{len(wrong):6}"
                print(line + "".join(f"{value:9}" for value in astuple(now)), flush=True)
        assert reference
        last = Vitals.of(sandbox)
    grown = last.own_kb > 1.2 * reference.own_kb or last.server_kb > 1.2 * reference.server_kb
    more_files = last.own_files > reference.own_files or last.server_files > reference.server_files
    left = last.children or last.folders > reference.folders or children(os.getpid())
    print(f"wrong or lost: {wrong[:5]}; grown: {grown}; more files: {more_files}; left: {bool(left)}")
    return not (wrong or grown or more_files or left)


def main():
    """Exit code 0 if all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--claims", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as tempfile.tempdir:  # what is left there is this soak's own
        held = soak(options.programs, options.workers, options.kills, options.claims)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
