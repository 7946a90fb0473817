"""The sandbox on other hosts, in the same form as on this one.

Every server is given jobs as it ends others, so the faster one gets more. When a connection breaks, its jobs go back
into the queue under the same ids, to whichever server is free first, and the connection is tried again until the
batch's deadline. Only ``infra`` is tried again; no verdict is made up for a job that came back from nowhere.
"""

import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ra3.errors import UserError
from ra3.sandbox.batch import INFRA
from ra3.sandbox.flight import Limits
from ra3.sandbox.jobs import Job, Outcome
from ra3.sandbox.link import Link, LinkError, WrongKey, connect, parse_address
from ra3.sandbox.parcels import pack_job, unpack_outcome
from ra3.sandbox.pool import Sandbox

AHEAD = 4
"""Jobs in flight per worker of a server, so that it never waits for the network."""
SILENT_S = 15.0
RECONNECT_S = 0.5
POLL_S = 0.05
MAX_LOSSES = 5


@dataclass
class Shipment:
    """A job on its way: its name in all its tries, the connections it was lost with, its second chance."""

    index: int
    name: str
    parcel: dict
    losses: int = 0
    infra_retries: int = 1


class Cargo:
    """The jobs of one batch that wait for a server, and the outcomes so far. For several threads."""

    def __init__(self, jobs: list[Job]):
        batch = uuid.uuid4().hex
        self.waiting = deque(Shipment(index, f"{batch}-{index}", pack_job(job)) for index, job in enumerate(jobs))
        self.ended: queue.SimpleQueue[tuple[int, Outcome] | Exception] = queue.SimpleQueue()
        self.closed = threading.Event()

    def take(self, most: int) -> list[Shipment]:
        """Up to that many jobs that wait."""
        taken = []
        while len(taken) < most:
            try:
                taken.append(self.waiting.popleft())
            except IndexError:
                break
        return taken

    def arrive(self, shipment: Shipment, outcome: Outcome):
        """A job has an outcome; one that is ``infra`` gets a second chance, under another name."""
        if outcome.fault == "infra" and shipment.infra_retries:
            shipment.infra_retries -= 1
            shipment.name += "-again"
            self.waiting.append(shipment)
        else:
            self.ended.put((shipment.index, outcome))

    def give_back(self, shipments: list[Shipment]):
        """A connection broke with these on it."""
        for shipment in shipments:
            shipment.losses += 1
            if shipment.losses > MAX_LOSSES:
                self.ended.put((shipment.index, INFRA))
            else:
                self.waiting.appendleft(shipment)


class Server:
    """One server, with its connection while there is one."""

    def __init__(self, address: str, secret: bytes):
        self.address, self._secret = address, secret
        self._link: Link | None = None
        self.workers, self.level, self.losses = 0, {}, 0

    def connect(self) -> Link:
        """The connection, made anew if need be. OSError if the server cannot be reached."""
        if self._link is None:
            link = connect(*parse_address(self.address), self._secret)
            hello = link.receive(SILENT_S) or {}
            if not isinstance(hello.get("workers"), int) or not isinstance(hello.get("level"), dict):
                link.close()
                raise LinkError("a server that does not say what it is")
            self._link, self.workers, self.level = link, hello["workers"], hello["level"]
        return self._link

    def close(self):
        """Close the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def carry(self, cargo: Cargo):
        """Take jobs there and outcomes back until the batch is closed."""
        flying: dict[str, Shipment] = {}
        while not cargo.closed.is_set():
            try:
                self._exchange(cargo, flying)
            except WrongKey as error:
                cargo.ended.put(UserError(str(error), where=self.address))
                return
            except (OSError, ValueError, TypeError, KeyError):
                self.close()
                self.losses += 1
                cargo.give_back(list(flying.values()))
                flying.clear()
                cargo.closed.wait(RECONNECT_S)
            except Exception as error:
                cargo.ended.put(error)
                return

    def _exchange(self, cargo: Cargo, flying: dict[str, Shipment]):
        link, heard = self.connect(), time.monotonic()
        while not cargo.closed.is_set():
            taken = cargo.take(AHEAD * self.workers - len(flying))
            flying.update((shipment.name, shipment) for shipment in taken)
            if taken:
                link.send({"jobs": [[shipment.name, shipment.parcel] for shipment in taken]})
            message = link.receive(POLL_S)
            if message is not None:
                heard = time.monotonic()
                for name, parcel in message["outcomes"]:
                    if name in flying:  # else of a batch that was given up
                        outcome = unpack_outcome(parcel)
                        cargo.arrive(flying.pop(name), outcome)
            elif time.monotonic() - heard > SILENT_S:
                raise LinkError("the server is silent")


class RemoteSandbox(Sandbox):
    """``Sandbox`` whose programs run on servers started with ``ra3 sandbox-server``; for one thread at a time."""

    def __init__(self, servers: Sequence[str], secret: bytes, cpu_s=2.0, wall_s=6.0, memory_mb=512):
        """``servers``: HOST:PORT each. UserError if a server cannot be reached or does not have our key."""
        self.limits = Limits(cpu_s, wall_s, memory_mb)
        self._servers = [Server(address, secret) for address in servers]
        self._busy = self._closed = False
        self._zygotes = {}
        for server in self._servers:
            try:
                server.connect()
            except OSError as error:
                self.close()
                fix = "start it with ra3 sandbox-server"
                raise UserError(f"no sandbox there: {error}", where=server.address, fix=fix) from error
        self._workers = sum(server.workers for server in self._servers)
        self.level = {f"{server.address} {key}": text for server in self._servers for key, text in server.level.items()}

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """Connections lost so far."""
        return sum(server.losses for server in self._servers)

    def _batch(self, jobs: list[Job], deadline_s: float) -> Iterator[tuple[int, Outcome]]:
        cargo = Cargo([_whole(job, self.limits.of(job)) for job in jobs])
        carriers = [threading.Thread(target=server.carry, args=(cargo,), daemon=True) for server in self._servers]
        missing, deadline = set(range(len(jobs))), time.monotonic() + deadline_s
        try:
            for carrier in carriers:
                carrier.start()
            while missing:
                try:
                    ended = cargo.ended.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if isinstance(ended, Exception):
                    raise ended
                missing.discard(ended[0])
                yield ended
            yield from [(index, INFRA) for index in missing]
        finally:
            cargo.closed.set()
            for carrier in carriers:
                carrier.join()

    def close(self):
        """Close the connections; the servers go on."""
        self._closed = True
        for server in self._servers:
            server.close()


def _whole(job: Job, limits: Limits) -> Job:
    return replace(job, cpu_s=limits.cpu_s, wall_s=limits.wall_s, memory_mb=limits.memory_mb)
