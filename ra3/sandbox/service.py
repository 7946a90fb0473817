"""The sandbox for other hosts: runs the jobs of whoever has the key, over TCP.

A client sends ``{"jobs": [[id, job], ...]}`` and is sent ``{"outcomes": [[id, outcome], ...]}`` as they end. Ids are
the client's own and idempotent: a job sent again, over a new connection after the old one broke, is not run again if
it is still running or its outcome is among the last KEPT. ``infra`` is not kept, so that it can be tried again. What is
right is decided by the client; no expected value comes here, except inside of judges and checkers.
"""

import contextlib
import queue
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from ra3.errors import UserError
from ra3.sandbox.jobs import Job, Outcome
from ra3.sandbox.link import Link, WrongKey, accept, parse_address
from ra3.sandbox.parcels import pack_outcome, unpack_job
from ra3.sandbox.pool import MAX_WORKERS, Sandbox
from ra3.sandbox.zygote import SandboxError

KEPT = 20_000
KEPT_BYTES = 1 << 28
HEARTBEAT_S = 2.0
MAX_CLIENTS = 64


class Service:
    """Sandboxes of one worker each, fed from one queue; a thread for each, and two for each client."""

    def __init__(self, sandboxes: list[Sandbox], secret: bytes, tell: Callable[[str], object]):
        """``tell`` is called with a line for each client that comes, goes or is refused."""
        self.sandboxes, self._secret, self._tell = sandboxes, secret, tell
        self._todo: queue.SimpleQueue[tuple[str, Job]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._listeners: dict[str, queue.SimpleQueue] = {}
        self._kept: OrderedDict[str, dict] = OrderedDict()
        self._kept_bytes = 0
        self._places = threading.Semaphore(MAX_CLIENTS)

    def serve(self, listener: socket.socket):
        """Take clients in until the socket is closed."""
        for sandbox in self.sandboxes:
            threading.Thread(target=self._work, args=(sandbox,), daemon=True).start()
        while True:
            try:
                sock, address = listener.accept()
            except OSError:
                return
            if self._places.acquire(blocking=False):
                threading.Thread(target=self._attend, args=(sock, f"{address[0]}:{address[1]}"), daemon=True).start()
            else:
                sock.close()

    def _work(self, sandbox: Sandbox):
        while True:
            name, job = self._todo.get()
            try:
                (outcome,) = sandbox.run([job])
            except SandboxError as error:
                self._tell(f"the sandbox fails: {error}")
                outcome = Outcome("infra")
            self._finish(name, outcome)

    def _finish(self, name: str, outcome: Outcome):
        parcel = pack_outcome(outcome)
        with self._lock:
            if outcome.fault != "infra":
                self._kept[name] = parcel
                self._kept_bytes += _size(parcel)
            while len(self._kept) > KEPT or self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= _size(self._kept.popitem(last=False)[1])
            listener = self._listeners.pop(name)
        listener.put([name, parcel])

    def _attend(self, sock: socket.socket, who: str):
        """One client, from greeting to end."""
        with contextlib.closing(sock), contextlib.ExitStack() as stack:
            stack.callback(self._places.release)
            try:
                link = accept(sock, self._secret)
                self._tell(f"{who} has come")
                link.send({"level": self.sandboxes[0].level, "workers": len(self.sandboxes)})
                outbox: queue.SimpleQueue = queue.SimpleQueue()
                stack.callback(outbox.put, None)
                threading.Thread(target=_post, args=(link, outbox), daemon=True).start()
                while True:
                    if message := link.receive(3600.0):
                        self._take_jobs(message["jobs"], outbox)
            except WrongKey as error:
                self._tell(f"{who} refused: {error}")
            except (OSError, ValueError, TypeError, KeyError, AssertionError) as error:
                self._tell(f"{who} has gone: {error}")

    def _take_jobs(self, parcels: list, outbox: queue.SimpleQueue):
        for name, parcel in parcels:
            job = unpack_job(parcel)
            with self._lock:
                if name in self._kept:
                    outbox.put([name, self._kept[name]])
                    continue
                running = name in self._listeners
                self._listeners[name] = outbox
            if not running:
                self._todo.put((name, job))


def _post(link: Link, outbox: queue.SimpleQueue):
    """Send outcomes as they come, those that wait together; a sign of life where there are none for a while."""
    with contextlib.suppress(OSError):
        while True:
            batch = []
            with contextlib.suppress(queue.Empty):
                batch.append(outbox.get(timeout=HEARTBEAT_S))
                while len(batch) < 64:
                    batch.append(outbox.get_nowait())
            if None in batch:
                return
            link.send({"outcomes": batch})


def _size(parcel: dict) -> int:
    return 200 + len(parcel["stdout"]) + sum(len(data) + 50 for data, _ in parcel["results"])


@contextlib.contextmanager
def listening(address: str, workers: int, secret: bytes, tell: Callable[[str], object]) -> Iterator[Callable[[], None]]:
    """A service with its sandboxes and its socket; what is given serves clients until it is interrupted.

    UserError for an address that cannot be had, and where the sandbox cannot run.
    """
    host, port = parse_address(address)
    if not 1 <= workers <= MAX_WORKERS:
        raise UserError(f"workers cannot be {workers}", where="sandbox", allowed=f"1 to {MAX_WORKERS}")
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = stack.enter_context(socket.create_server((host, port), family=family, backlog=MAX_CLIENTS))
        except OSError as error:
            raise UserError(f"cannot listen: {error}", where=address) from error
        sandboxes = [stack.enter_context(Sandbox(workers=1)) for _ in range(workers)]
        service = Service(sandboxes, secret, tell)
        tell(f"listening on {host}:{listener.getsockname()[1]}, {workers} workers, {sandboxes[0].level['user']}")
        tell(f"refused to programs: {sandboxes[0].level['denied']}")
        yield lambda: service.serve(listener)
