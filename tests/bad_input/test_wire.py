"""The same server as in production, spoken to byte by byte: it answers, goes on, and its log tells no value."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portal.config import Settings

CANARY = "Quixotrophe"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
END = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Server:
    """granian with the portal in it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.log = folder / "log"
        command = [sys.executable, "-m", "portal", "serve", "--port", str(self.port), "--workers", "1"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--data", str(folder)], stdout=log, stderr=subprocess.STDOUT)

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if self.say(b"GET /help" + END)[0] == 200:
                    return
            except OSError:
                # Nobody listens there yet.
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def say(self, request: bytes) -> tuple[int, str]:
        """Return status and answer; 0 when the connection was closed without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            answer = b""
            # It may hang up before it has read everything, and has answered then.
            with suppress(OSError):
                line.sendall(request)
            with suppress(ConnectionResetError):
                while part := line.recv(65536):
                    answer += part
        status = re.match(rb"HTTP/1.1 (\d{3})", answer)
        return int(status[1]) if status else 0, answer.decode("utf-8", "replace")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    assert settings.url
    made = Server(tmp_path_factory.mktemp("wire"))
    try:
        made.wait()
        yield made
    finally:
        made.stop()


def _post(path: str, headers: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def _chunks(body: bytes) -> bytes:
    parts = (body[start : start + 8192] for start in range(0, len(body), 8192))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


LARGE = f"email={CANARY}".encode() + b"x" * 400_000
CASES = {
    "large, with its length": _post("/account/sign-in", f"{FORM}Content-Length: {len(LARGE)}\r\n", LARGE),
    "large, in chunks": _post("/account/sign-in", FORM + CHUNKED, _chunks(LARGE)),
    "small, in chunks": _post("/account/sign-in", FORM + CHUNKED, _chunks(f"email={CANARY}".encode())),
    "broken UTF-8": _post("/account/sign-in", f"{FORM}Content-Length: 8\r\n", b"email=\xff\xfe"),
    "a length that is no number": _post("/account/sign-in", f"{FORM}Content-Length: many\r\n", b"a=b"),
    "two lengths": _post("/account/sign-in", f"{FORM}Content-Length: 3\r\nContent-Length: 4\r\n", b"a=bc"),
    "length and chunks": _post("/account/sign-in", f"{FORM}Content-Length: 3\r\n{CHUNKED}", b"0\r\n\r\n"),
    "JSON in chunks": _post("/api/v1/pulls", "Content-Type: application/json\r\n" + CHUNKED, _chunks(LARGE)),
    "odd host": f"GET /help?{CANARY} HTTP/1.1\r\nHost: http://[{CANARY}\r\nConnection: close\r\n\r\n".encode(),
    "no host": b"GET /help HTTP/1.1\r\nConnection: close\r\n\r\n",
    "raw bytes in the address": b"GET /details/\xff\xfe" + END,
    "raw bytes in the query": b"GET /activity?before=\xff" + END,
    "raw bytes in the query of the API": b"GET /api/v1/people/a?attributes=\xff" + END,
    "raw bytes in headers": b"GET /help HTTP/1.1\r\nCookie: session=\xff\xfe; form=\xff\r\nReferer: \xff" + END[9:],
    "NUL in a header": b"GET /help HTTP/1.1\r\nCookie: a=\x00" + END[9:],
    "NUL in the address": b"GET /organisations/a%00b" + END,
    "large header": b"GET /help HTTP/1.1\r\nX: " + b"x" * 1_000_000 + END[9:],
    "no HTTP": CANARY.encode() + b"\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_odd_bytes_are_refused_and_not_logged(server: Server, case: str) -> None:
    status, answer = server.say(CASES[case])
    assert status < 500, answer
    assert (200 if case in {"raw bytes in headers", "no host", "odd host"} else 400) <= status or status == 0, answer
    assert CANARY not in answer
    assert server.say(b"GET /help" + END)[0] == 200
    log = server.log.read_text()
    assert CANARY not in log
    assert "Traceback" not in log


def test_addresses_are_not_logged(server: Server) -> None:
    """A query may hold a state, a code or, by somebody's mistake, a value (OWASP ASVS 5.0, 14.2.1)."""
    for address in (
        f"/activity?before={CANARY}",
        f"/account/sign-in?next=/{CANARY}",
        f"/{CANARY}",
        f"/api/v1/people/{CANARY}",
    ):
        asked = f"GET {address} HTTP/1.1\r\nHost: localhost\r\nCookie: session={CANARY}\r\nConnection: close\r\n\r\n"
        assert server.say(asked.encode())[0] in {200, 303, 401, 404}
    assert CANARY not in server.log.read_text()
