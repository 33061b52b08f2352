"""A company's endpoint in a few lines: it repeats the challenge, and takes everything else without looking."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"


class Receiver:
    """Listens on a free port of this machine; `claims` holds what came, newest last."""

    def __init__(self) -> None:
        self.claims: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"claims": self.claims})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/events"

    @property
    def allow(self) -> str:
        """What EGRESS_ALLOW must hold for the portal to reach it."""
        return f"localhost:{self.port},127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    claims: list[dict[str, Any]]

    def do_POST(self) -> None:
        message = self.rfile.read(int(self.headers["Content-Length"])).decode()
        payload = message.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.claims.append(claims)
        challenge = claims["events"].get(_VERIFICATION)
        if challenge is None:
            self._answer(202, b"")
        else:
            self._answer(200, json.dumps({"state": challenge["state"]}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing: what came is in `claims`."""
