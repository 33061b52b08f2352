"""The demo's mailbox: takes mail on loopback, shows the last ones on a page, and forgets them when it stops.

Codes and notices are personal, so nothing is written to disk or to a log.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller

from portal.demo.places import LOOPBACK, free_port

if TYPE_CHECKING:
    from email.message import EmailMessage

    from aiosmtpd.smtp import SMTP, Envelope, Session

_KEPT = 50
_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "article{border-top:1px solid;padding:1rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit}"
    "h2{font-size:1.2rem;margin:0}p{margin:.2rem 0}"
)


@dataclass(frozen=True)
class Mail:
    """One message as it came."""

    to: str
    subject: str
    text: str
    at: datetime


class Mailbox:
    """An SMTP server and a page; `start`, use the two addresses, `stop`."""

    def __init__(self, *, page_port: int) -> None:
        self._mails: deque[Mail] = deque(maxlen=_KEPT)
        # The library looks for itself at the port it was told, so it cannot be told 0.
        self._smtp = Controller(_Taker(self._mails), hostname=LOOPBACK, port=free_port(0, purpose="mail"))
        self._page_port = page_port
        self._page: ThreadingHTTPServer | None = None

    @property
    def alive(self) -> bool:
        return self._page is not None

    @property
    def smtp_url(self) -> str:
        return f"smtp://{LOOPBACK}:{self._smtp.port}"

    @property
    def url(self) -> str:
        return f"http://localhost:{self._page_port}/"

    def start(self) -> None:
        self._smtp.start()
        handler = type("MailboxPage", (_Page,), {"mails": self._mails})
        self._page = ThreadingHTTPServer((LOOPBACK, self._page_port), handler)
        self._page_port = self._page.server_address[1]
        self._page.daemon_threads = True
        threading.Thread(target=self._page.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._smtp.stop(no_assert=True)
        if self._page is not None:
            self._page.shutdown()
            self._page.server_close()
            self._page = None


class _Taker:
    """What aiosmtpd hands each message to."""

    def __init__(self, mails: deque[Mail]) -> None:
        self._mails = mails

    async def handle_DATA(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        message = message_from_bytes(content, policy=policy.default)
        self._mails.appendleft(
            Mail(
                to=", ".join(envelope.rcpt_tos),
                subject=str(message.get("Subject", "")),
                text=_text(message),
                at=datetime.now(UTC),
            )
        )
        return "250 Message accepted"


def _text(message: EmailMessage) -> str:
    body = message.get_body(("plain", "html"))
    return str(body.get_content()) if body is not None else ""


class _Page(BaseHTTPRequestHandler):
    """Answers every GET with the whole mailbox; it changes nothing and logs nothing."""

    mails: deque[Mail]

    def do_GET(self) -> None:
        body = _document(list(self.mails)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def _document(mails: list[Mail]) -> str:
    articles = "".join(_article(mail) for mail in mails) or "<p>No mail yet.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Demo mailbox</title>'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">'
        f"<style>{_STYLE}</style></head><body><main><h1>Demo mailbox</h1>{articles}</main></body></html>"
    )


def _article(mail: Mail) -> str:
    when = f"{mail.at:%H:%M:%S} UTC"
    head = f"<h2>{escape(mail.subject)}</h2><p>To {escape(mail.to)}, {when}</p>"
    return f"<article>{head}<pre>{escape(mail.text)}</pre></article>"
