"""One authenticated connection between a client and a server of the sandbox.

Both hold the same secret; it is never sent. The server opens with a random nonce, the client answers with a nonce of
its own and a proof, the server with its proof:

    proof(role) = HMAC-SHA256(secret, role | server's nonce | client's nonce)       role "client" or "server"
    key(role)   = HMAC-SHA256(secret, "key " role | server's nonce | client's nonce)

Then each side sends frames: length, HMAC-SHA256(key(role), number of the frame | body), body (JSON). A frame that was
changed, repeated, left out or sent back to its sender ends the connection. Nothing is encrypted: whoever sees the
traffic reads programs and tests. Nothing is unpickled.
"""

import hmac
import json
import secrets
import select
import socket
import struct
import threading
import time
from pathlib import Path

from ra3.errors import UserError

VERSION = 1
LENGTH = struct.Struct("<I")
NUMBER = struct.Struct("<Q")
MAC_BYTES, NONCE_BYTES, MIN_SECRET = 32, 32, 16
MAX_GREETING, MAX_FRAME = 1024, 1 << 28
GREETING_S, SEND_S = 10.0, 30.0
CHUNK = 1 << 18


class LinkError(OSError):
    """The connection is broken, or its other end does not keep to the protocol."""


class WrongKey(LinkError):
    """The other end does not have our secret."""


class Link:
    """Frames in both directions. One thread may send while another receives."""

    def __init__(self, sock: socket.socket, key_out: bytes, key_in: bytes):
        self._sock, self._key_out, self._key_in = sock, key_out, key_in
        self._sent, self._received, self._buffer = 0, 0, bytearray()
        self._sending, self._poller = threading.Lock(), select.poll()
        self._poller.register(sock, select.POLLIN)
        sock.settimeout(SEND_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def send(self, message: dict):
        """Send one message. OSError if the connection is broken."""
        body = json.dumps(message, separators=(",", ":")).encode("ascii")
        if len(body) > MAX_FRAME:
            raise LinkError(f"a message of {len(body)} bytes is too long")
        with self._sending:
            mac = _mac(self._key_out, self._sent, body)
            self._sent += 1
            self._sock.sendall(LENGTH.pack(len(body)) + mac + body)

    def receive(self, timeout_s: float) -> dict | None:
        """The next message, or None if there is none in time. OSError if the connection is broken or not genuine."""
        deadline = time.monotonic() + timeout_s
        while (message := self._take()) is None:
            if not self._poller.poll(1000 * max(0.0, deadline - time.monotonic())):
                return None
            chunk = self._sock.recv(CHUNK)
            if not chunk:
                raise LinkError("the other end has closed the connection")
            self._buffer += chunk
        return message

    def _take(self) -> dict | None:
        head = LENGTH.size + MAC_BYTES
        if len(self._buffer) < head:
            return None
        (length,) = LENGTH.unpack_from(self._buffer)
        if length > MAX_FRAME:
            raise LinkError("a frame that is too long")
        if len(self._buffer) < head + length:
            return None
        body = bytes(self._buffer[head : head + length])
        if not hmac.compare_digest(_mac(self._key_in, self._received, body), self._buffer[LENGTH.size : head]):
            raise LinkError("a frame that is not genuine")
        del self._buffer[: head + length]
        self._received += 1
        return json.loads(body)

    def close(self):
        """Close the connection."""
        self._sock.close()


def accept(sock: socket.socket, secret: bytes) -> Link:
    """The server's half of the greeting. WrongKey, or another OSError, if the client does not get through it."""
    ours = secrets.token_hex(NONCE_BYTES)
    _say(sock, {"ra3": VERSION, "nonce": ours})
    answer = _hear(sock)
    theirs = _nonce(answer)
    if not hmac.compare_digest(_proof(secret, "client", ours, theirs), str(answer.get("proof"))):
        _say(sock, {"refused": "wrong key"})
        raise WrongKey("a client with a wrong key")
    _say(sock, {"proof": _proof(secret, "server", ours, theirs)})
    return Link(sock, _key(secret, "server", ours, theirs), _key(secret, "client", ours, theirs))


def connect(host: str, port: int, secret: bytes) -> Link:
    """The client's half of the greeting. WrongKey if either end has the wrong one; OSError if nobody answers."""
    sock = socket.create_connection((host, port), GREETING_S)
    try:
        greeting, ours = _hear(sock), secrets.token_hex(NONCE_BYTES)
        if greeting.get("ra3") != VERSION:
            raise LinkError(f"no server of the sandbox, or another version: {str(greeting)[:80]}")
        theirs = _nonce(greeting)
        _say(sock, {"nonce": ours, "proof": _proof(secret, "client", theirs, ours)})
        answer = _hear(sock)
        if not hmac.compare_digest(_proof(secret, "server", theirs, ours), str(answer.get("proof"))):
            raise WrongKey("the server has another key")
        return Link(sock, _key(secret, "client", theirs, ours), _key(secret, "server", theirs, ours))
    except BaseException:
        sock.close()
        raise


def read_secret(path: str | Path) -> bytes:
    """The secret in a file that only its owner can read. UserError if it cannot be used."""
    path = Path(path)
    make = f"(umask 077; head -c 32 /dev/urandom | base64 > {path})"
    try:
        secret, mode = path.read_bytes().strip(), path.stat().st_mode
    except OSError as error:
        raise UserError(f"cannot read the key: {error}", where=str(path), fix=f"make one with {make}") from error
    if mode & 0o077:
        raise UserError("others can read the key", where=str(path), fix=f"chmod 600 {path}")
    if len(secret) < MIN_SECRET:
        raise UserError(f"the key has {len(secret)} bytes", where=str(path), allowed=f"{MIN_SECRET} or more", fix=make)
    return secret


def parse_address(text: str) -> tuple[str, int]:
    """Host and port. UserError if it is no address."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise UserError(f"{text!r} is no address", where="sandbox", allowed="HOST:PORT, such as 127.0.0.1:7130")
    return host.strip("[]"), int(port)


def _digest(secret: bytes, role: str, *nonces: str):
    return hmac.new(secret, "|".join((role, *nonces)).encode(), "sha256")


def _proof(secret: bytes, role: str, server: str, client: str) -> str:
    return _digest(secret, role, server, client).hexdigest()


def _key(secret: bytes, role: str, server: str, client: str) -> bytes:
    return _digest(secret, f"key {role}", server, client).digest()


def _mac(key: bytes, number: int, body: bytes) -> bytes:
    return hmac.digest(key, NUMBER.pack(number) + body, "sha256")


def _nonce(greeting: dict) -> str:
    nonce = greeting.get("nonce")
    if not isinstance(nonce, str) or len(nonce) != 2 * NONCE_BYTES or not nonce.isalnum():
        raise LinkError("a greeting without a nonce")
    return nonce


def _say(sock: socket.socket, greeting: dict):
    body = json.dumps(greeting).encode()
    sock.settimeout(GREETING_S)
    sock.sendall(LENGTH.pack(len(body)) + body)


def _hear(sock: socket.socket) -> dict:
    sock.settimeout(GREETING_S)
    (length,) = LENGTH.unpack(_exactly(sock, LENGTH.size))
    if length > MAX_GREETING:
        raise LinkError("no greeting of the sandbox")
    try:
        greeting = json.loads(_exactly(sock, length))
    except ValueError as error:
        raise LinkError("no greeting of the sandbox") from error
    if not isinstance(greeting, dict):
        raise LinkError("no greeting of the sandbox")
    return greeting


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise LinkError("the other end has closed the connection")
        data += chunk
    return data
