"""A company's receiver on a real loopback port: verifies and opens by joserfc alone, and keeps a journal."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from joserfc import jwe, jws
from joserfc.jwk import ECKey, KeySet, OctKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import HTTPServer

    from joserfc.jwk import KeySetSerialization

PROFILE = "urn:ucm:event:profile"
CONSENT = "urn:ucm:event:consent"
VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"
_WRAP = ["ECDH-ES+A256KW", "A256GCM"]
_LONGEST_SECONDS = 30.0
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Message:
    """One verified message; `values` maps each attribute to (version, value), `raw` is the token."""

    raw: str
    claims: dict[str, Any]
    at: float
    values: dict[str, tuple[int, Any]] = field(default_factory=dict)

    @property
    def jti(self) -> str:
        return str(self.claims["jti"])

    @property
    def profile(self) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self.claims["events"].get(PROFILE))

    @property
    def consent(self) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self.claims["events"].get(CONSENT))


def new_key(kid: str = "enc-1") -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid, "use": "enc"}, private=True)


def read(token: str, *, portal_keys: dict[str, Any], key: ECKey) -> Message:
    """Verify and open a message; raise whatever joserfc raises."""
    keys = KeySet.import_key_set(cast("KeySetSerialization", portal_keys))
    parsed = jws.deserialize_compact(token, keys, algorithms=["ES256"])
    header = parsed.headers()
    assert header["typ"] == "secevent+jwt"
    message = Message(token, json.loads(parsed.payload or b""), time.monotonic())
    if message.profile is not None and not message.profile.get("thin"):
        message.values = dict(_opened(message.profile, key))
    return message


def _opened(profile: dict[str, Any], key: ECKey) -> Iterator[tuple[str, tuple[int, Any]]]:
    opened = jwe.decrypt_compact(profile["keys"], key, algorithms=_WRAP)
    one_time = {each["kid"]: OctKey.import_key(each) for each in json.loads(opened.plaintext or b"")["keys"]}
    for name, entry in profile["attributes"].items():
        if "group_keys" in profile and f"{name}#{entry['version']}" not in one_time:
            continue  # it is for a department
        value = jwe.decrypt_compact(
            entry["value"], one_time[f"{name}#{entry['version']}"], algorithms=["dir", "A256GCM"]
        )
        yield name, (entry["version"], json.loads(value.plaintext or b""))


class Held:
    """A way to behave: keeps every request until it is let go; `holding` is how many at this moment."""

    def __init__(self) -> None:
        self.holding = 0
        self._free = 0
        self._turn = threading.Condition()

    def __call__(self, _number: int) -> None:
        with self._turn:
            self.holding += 1
            let_go = self._turn.wait_for(lambda: self._free > 0, _LONGEST_SECONDS)
            self._free -= let_go
            self.holding -= 1

    def let_go(self, requests: int = 1_000_000) -> None:
        """Let so many go on, now or when they come."""
        with self._turn:
            self._free += requests
            self._turn.notify_all()


class Receiver:
    """Answers 202 to what verifies; `behave` replaces the answer, given the request's number from 1."""

    def __init__(self, portal_keys: Callable[[], dict[str, Any]], key: ECKey) -> None:
        self.key = key
        self.journal: list[Message] = []
        self.requests = 0
        self.connections = 0
        self.forgets = False  # takes what comes and says that it could not
        self.behave: Callable[[int], Reply | float | None] | None = None
        # What it says of many messages in one request, given their ids, and how many each held.
        self.says: Callable[[list[str]], object] | None = None
        self.sizes: list[int] = []
        self._portal_keys = portal_keys
        self._known: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._server: HTTPServer = _server(self)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    def close(self) -> None:
        # Whoever waits there for a connection finds out at once, and nobody waits for them.
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._server.process_request(*self._server.get_request())

    def answer(self, body: bytes) -> Reply:
        with self._lock:
            self.requests += 1
            number = self.requests
        told = self.behave(number) if self.behave else None
        if isinstance(told, float):
            # It takes its time, as the test told it.
            time.sleep(told)
        elif told is not None:
            return told
        return self._receive(body)

    def newest(self, sub: str) -> dict[str, tuple[int, Any]]:
        """Return the highest version of each attribute received about `sub`, as a real receiver keeps it."""
        kept: dict[str, tuple[int, Any]] = {}
        for message in list(self.journal):
            if message.claims["sub_id"].get("sub") == sub:
                kept |= {k: v for k, v in message.values.items() if v[0] > kept.get(k, (0, None))[0]}
        return kept

    def _receive(self, body: bytes) -> Reply:
        self._known = self._known or self._portal_keys()
        if body.startswith(b"{"):
            return self._receive_many(json.loads(body)["sets"])
        message = read(body.decode(), portal_keys=self._known, key=self.key)
        with self._lock:
            self.journal.append(message)
        if challenge := message.claims["events"].get(VERIFICATION):
            return 200, {"Content-Type": "application/json"}, json.dumps({"state": challenge["state"]}).encode()
        return (503 if self.forgets else 202), {}, b""

    def _receive_many(self, sets: dict[str, str]) -> Reply:
        opened = [read(token, portal_keys=self._known or {}, key=self.key) for token in sets.values()]
        assert [message.jti for message in opened] == list(sets)
        with self._lock:
            self.journal.extend(opened)
            self.sizes.append(len(opened))
        said = self.says(list(sets)) if self.says else {"ack": list(sets)}
        return 202, {"Content-Type": "application/json"}, json.dumps(said).encode()


def _server(receiver: Receiver) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, answer = receiver.answer(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_args: object) -> None:
            """Stay silent: a client that hangs up is part of these tests."""

    return Server(("127.0.0.1", 0), Handler)
