"""A witness: it signs what a transparency log has signed, as long as the log only grows (C2SP tlog-witness).

Whoever holds a checkpoint with a witness's signature knows that the log has not shown others another history.  Any
organisation can run one; it needs Python 3.11 and `cryptography`, a file for its key, one for what it has signed, and
no connection to the log's own database.

    python witness.py key ngo.example/witness --key witness.key
    python witness.py serve --key witness.key --state witness.db --log 'VERIFIER KEY OF THE LOG' --port 8090

It shares no code with the portal.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import logging
import os
import re
import signal
import socket
import sqlite3
import stat
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

log = logging.getLogger("witness")
_Line = socket.socket | tuple[bytes, socket.socket]

# The kinds of signature of C2SP signed-note and tlog-cosignature that this program knows: both are Ed25519.
LOG, WITNESS = 1, 4
MOST_BYTES = 32 * 1024
MOST_LINES = 64
_SECONDS = 10.0
# However busy somebody keeps a line, others get their turn.
_LONGEST_SECONDS = 60.0
_NUMBER, _HASH = r"(?:0|[1-9][0-9]{0,17})", r"[A-Za-z0-9+/]{43}="
_REQUEST = re.compile(rf"old (?P<old>{_NUMBER})\n(?P<proof>(?:{_HASH}\n){{0,63}})\n(?P<note>.+)", re.DOTALL)
# Lines behind the third are for others; they are signed as they are (tlog-checkpoint).
_CHECKPOINT = re.compile(rf"(?P<origin>[^\n]+)\n(?P<size>{_NUMBER})\n(?P<root>{_HASH})\n(?:[^\n]+\n)*")
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<data>[A-Za-z0-9+/]+={0,2})")
_VERIFIER = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")
_NAME = re.compile(r"[^\s+]+")
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS log (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,
                                    note TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS conflict (origin TEXT, size INTEGER, root BLOB, seen_at INTEGER NOT NULL,
                                         known TEXT NOT NULL, shown TEXT NOT NULL,
                                         PRIMARY KEY (origin, size, root)) STRICT;
"""


class UnreadableError(ValueError):
    """It is not written as it should be."""


@dataclass(frozen=True)
class Verifier:
    """Who signs: a name, the kind of signature, and the public key."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def read(cls, text: str) -> Verifier:
        found = _VERIFIER.fullmatch(text.strip())
        material = decoded(found["key"]) if found else b""
        if found is None or len(material) != 33 or material[0] not in {LOG, WITNESS}:  # noqa: PLR2004 - kind and key
            raise UnreadableError(text)
        made = cls(found["name"], material[0], material[1:])
        if made.key_id.hex() != found["id"]:
            raise UnreadableError(text)
        return made

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encoded(bytes([self.kind]) + self.public)}"

    def signed(self, note: str) -> bool:
        """Return whether one of a note's signatures is this log's, of what the note says."""
        text, _, signatures = note.rpartition("\n\n")
        lines = signatures.removesuffix("\n").split("\n")
        if len(lines) > MOST_LINES:
            return False
        for line in lines:
            found = _SIGNATURE.fullmatch(line)
            data = decoded(found["data"]) if found else b""
            if found and found["name"] == self.name and data[:4] == self.key_id and self._made(data[4:], text + "\n"):
                return True
        return False

    def _made(self, signature: bytes, text: str) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Key:
    """The witness's own key, and its name."""

    name: str
    private: Ed25519PrivateKey

    @classmethod
    def make(cls, name: str, path: Path) -> Key:
        """Write a new key to a file that only its owner can read; a file that is there stays as it is."""
        if not _NAME.fullmatch(name):
            raise UnreadableError(name)
        private = Ed25519PrivateKey.generate()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{name}\n{encoded(private.private_bytes_raw())}\n")
        return cls(name, private)

    @classmethod
    def load(cls, path: Path) -> Key:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UnreadableError(f"{path} can be read by others than its owner")
        name, _, private = path.read_text(encoding="utf-8").partition("\n")
        return cls(name, Ed25519PrivateKey.from_private_bytes(decoded(private.strip())))

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, WITNESS, self.private.public_key().public_bytes_raw())

    def cosign(self, text: str, at: int) -> str:
        """Return the line that says that it saw `text` at this time, in seconds since 1970 (tlog-cosignature)."""
        signature = self.private.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        return f"— {self.name} {encoded(self.verifier.key_id + at.to_bytes(8) + signature)}\n"


class Checkpoint(NamedTuple):
    """What a log says of itself: its name, how many entries it has, the hash of all of them; and the whole text."""

    origin: str
    size: int
    root: bytes
    text: str

    @classmethod
    def read(cls, note: str) -> Checkpoint:
        text, gap, _ = note.rpartition("\n\n")
        found = _CHECKPOINT.fullmatch(text + "\n")
        if not gap or not note.endswith("\n") or found is None or len(decoded(found["root"])) != 32:  # noqa: PLR2004 - SHA-256
            raise UnreadableError
        return cls(found["origin"], int(found["size"]), decoded(found["root"]), text + "\n")


class Answer(NamedTuple):
    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


class State:
    """What was signed last of each log, and what contradicts it, in a file that survives whatever happens to us.

    SQLite writes through to the disk before a transaction is over, and lets one process at a time into one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as database:
            database.executescript(_SCHEMA)

    def notes(self) -> list[str]:
        with closing(self._open()) as database:
            return [note for (note,) in database.execute("SELECT note FROM log ORDER BY origin")]

    def advance(self, old: int, shown: Checkpoint, note: str, proof: list[bytes]) -> Answer | None:
        """Note the checkpoint as the newest, in one step with the check that it may be; else return the refusal."""
        with closing(self._open()) as database:
            database.execute("BEGIN IMMEDIATE")
            known = database.execute("SELECT size, root, note FROM log WHERE origin = ?", (shown.origin,)).fetchone()
            size, root, known_note = known or (0, b"", "")
            refusal = _refusal(old, shown, proof, size=size, root=root)
            if refusal is None:
                database.execute(
                    "INSERT INTO log VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE"
                    " SET size = excluded.size, root = excluded.root, note = excluded.note",
                    (shown.origin, shown.size, shown.root, note),
                )
            elif shown.size == size and shown.root != root:
                # The log's own signature is under both: whoever looks at them sees for themselves.
                _keep(database, shown, known_note, note)
            database.execute("COMMIT")
        return refusal

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=_SECONDS, isolation_level=None)
        database.execute("PRAGMA synchronous = EXTRA")
        return database


def _keep(database: sqlite3.Connection, shown: Checkpoint, known_note: str, note: str) -> None:
    log.warning("%s has signed two histories of %d entries: see the table conflict", shown.origin, shown.size)
    found = (shown.origin, shown.size, shown.root, int(time.time()), known_note, note)
    database.execute("INSERT INTO conflict VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", found)


def _refusal(old: int, shown: Checkpoint, proof: list[bytes], *, size: int, root: bytes) -> Answer | None:
    """Return why a checkpoint is not signed, of a log that was signed last with `size` and `root`; else None."""
    if old != size:
        return Answer(409, f"{size}\n", "text/x.tlog.size")
    if old == shown.size and shown.root != (root or hashlib.sha256().digest()):
        return Answer(409, f"{size}\n", "text/x.tlog.size")
    if old in {0, shown.size}:
        return Answer(422, "there is nothing to prove\n") if proof else None
    return None if follows(old, root, shown.size, shown.root, proof) else Answer(422, "the proof does not hold\n")


def follows(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Return whether a proof shows that a tree of `new` leaves begins with that of `old` (RFC 9162 section 2.1.4).

    From the top, as the proof was made: what is left of it is taken from its end.
    """
    left = list(proof)

    def roots(first: int, size: int, *, known: bool) -> tuple[bytes, bytes]:
        if first == size:
            found = old_root if known else left.pop()
            return found, found
        at, beside = 1 << (size - 1).bit_length() - 1, left.pop()
        if first <= at:
            small, large = roots(first, at, known=known)
            return small, parent(large, beside)
        small, large = roots(first - at, size - at, known=False)
        return parent(beside, small), parent(beside, large)

    try:
        return roots(old, new, known=True) == (old_root, new_root) and not left
    except IndexError:
        return False


def parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Witness:
    """Answers `add-checkpoint` for the logs that it knows."""

    def __init__(self, key: Key, state: State, logs: list[Verifier]) -> None:
        self.key, self.state = key, state
        self._logs = {each.name: [other for other in logs if other.name == each.name] for each in logs}

    def add_checkpoint(self, body: bytes) -> Answer:
        try:
            asked = _REQUEST.fullmatch(body.decode())
            shown = Checkpoint.read(asked["note"]) if asked else None
        except ValueError:
            asked = shown = None
        if asked is None or shown is None:
            return Answer(400, "this is no checkpoint with a proof\n")
        if shown.origin not in self._logs:
            return Answer(404, "this log is not known here\n")
        if not any(each.signed(asked["note"]) for each in self._logs[shown.origin]):
            return Answer(403, "the log has not signed this\n")
        old, proof = int(asked["old"]), [decoded(line) for line in asked["proof"].split()]
        if old > shown.size:
            return Answer(400, "the log was larger before\n")
        # What is signed was noted before, or a power cut could have it forgotten.
        refusal = self.state.advance(old, shown, asked["note"], proof)
        return refusal or Answer(200, self.key.cosign(shown.text, int(time.time())))

    def about(self) -> str:
        known = "".join(f"\n{note}" for note in self.state.notes())
        return f"A witness (c2sp.org/tlog-witness).\n{self.key.verifier}\n{known}"


class Handler(BaseHTTPRequestHandler):
    """Reads little, answers, and lets nobody keep a line for long."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "witness", ""
    timeout = _SECONDS
    witness: Witness

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,6}", length) or int(length) > MOST_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._say(Answer(413, "it is too long, or does not say how long it is\n"))
            return
        body = self.rfile.read(int(length))
        known = self.path == "/add-checkpoint"
        self._say(self.witness.add_checkpoint(body) if known else Answer(404, "there is nothing here\n"))

    def do_GET(self) -> None:
        self._say(Answer(200, self.witness.about()) if self.path == "/" else Answer(404, "there is nothing here\n"))

    def _say(self, answer: Answer) -> None:
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        log.info(format, *args)


class Server(ThreadingHTTPServer):
    """So many at once, and the others wait: a stranger cannot have it open threads without end."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[Handler], *, most: int = 32) -> None:
        super().__init__(address, handler)
        self._room = threading.BoundedSemaphore(most)

    def process_request(self, request: _Line, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: _Line, client_address: Any) -> None:  # noqa: ANN401 - the same
        cut = threading.Timer(_LONGEST_SECONDS, _cut, (request,))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._room.release()


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    """Return what base64 says, or nothing where it is not written in the one way that it can be."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if encoded(data) == text else b""


def _log(text: str) -> Verifier:
    made = Verifier.read(text)
    if made.kind != LOG:
        raise ValueError(text)
    return made


def serve(key: Key, state: State, logs: list[Verifier], *, host: str, port: int) -> None:
    handler = type("Bound", (Handler,), {"witness": Witness(key, state, logs)})
    with Server((host, port), handler) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        log.info("%s listens on port %d", key.verifier, server.server_port)
        server.serve_forever()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("key", help="make the witness's key, and print what others check it with")
    making.add_argument("name", help="such as ngo.example/witness")
    serving = verbs.add_parser("serve", help="answer logs")
    for each in (making, serving):
        each.add_argument("--key", type=Path, required=True)
    serving.add_argument("--state", type=Path, required=True, help="where is kept what was signed")
    serving.add_argument("--log", type=_log, action="append", required=True, help="a log's verifier key")
    serving.add_argument("--host", default="127.0.0.1")
    serving.add_argument("--port", type=int, default=8090)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if given.verb == "key":
        print(Key.make(given.name, given.key).verifier)  # noqa: T201 - what was asked for
    else:
        serve(Key.load(given.key), State(given.state), given.log, host=given.host, port=given.port)


if __name__ == "__main__":
    main()
