"""Loopback servers that do what servers should not, and authorities that vouch for them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from pathlib import Path

Line = Callable[[socket.socket, bytes], None]
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class ClosingSocket(ssl.SSLSocket):
    """Closes itself where the standard library loses it: whoever wraps a line that was reset meanwhile gets none."""

    def __del__(self) -> None:
        self.close()


class Server:
    """Lets `greet` do what it likes with a new line, then `behave` with each piece that is read."""

    def __init__(
        self, behave: Line, wrap: ssl.SSLContext | None = None, greet: Callable[[socket.socket], None] | None = None
    ) -> None:
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        self.lines: list[socket.socket] = []
        self._behave, self._wrap, self._greet = behave, wrap, greet
        if wrap is not None:
            wrap.sslsocket_class = ClosingSocket
            wrap.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in"

    @property
    def allow(self) -> frozenset[str]:
        return frozenset({f"127.0.0.1:{self.port}", f"receiver.example.com:{self.port}"})

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self.lines:
            hang_up(line)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with line:
            try:
                wrapped = self._wrap.wrap_socket(line, server_side=True) if self._wrap else line
                with wrapped:
                    self.lines.append(wrapped)
                    if self._greet:
                        self._greet(wrapped)
                    while request := wrapped.recv(65536):
                        self.requests.append(request)
                        self._behave(wrapped, request)
            except OSError:
                return


def reply(text: str, body: bytes = b"") -> Line:
    return lambda line, _request: line.sendall(text.replace("\n", "\r\n").encode() + body)


def say(raw: bytes, *, then_close: bool = False) -> Line:
    def speak(line: socket.socket, _request: bytes) -> None:
        line.sendall(raw)
        if then_close:
            hang_up(line)

    return speak


def drip(first: bytes, piece: bytes) -> Line:
    def forever(line: socket.socket, _request: bytes) -> None:
        line.sendall(first)
        while True:
            line.sendall(piece)
            # Often enough that no wait for the next piece ends it.
            time.sleep(0.02)

    return forever


def waits(over: threading.Event) -> None:
    """Do nothing until the test is over."""
    over.wait(30)


def hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def reset(line: socket.socket) -> None:
    """Close with RST instead of FIN, whatever is unread."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    # A thread that reads would hold the line open until something came.
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RD)
    line.close()


@dataclass
class Authority:
    """Issues certificates; `above` is who vouches for it, nobody for a root."""

    name: str
    folder: Path
    above: Authority | None = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        issuer = self.above or self
        self.certificate = issuer.sign(self.name, self.key, authority=True)

    @property
    def trusted(self) -> ssl.SSLContext:
        """What a caller that trusts this authority alone goes by."""
        context = ssl.create_default_context(cadata=self.certificate.public_bytes(Encoding.PEM).decode())
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = ClosingSocket
        return context

    def sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool = False, days: tuple[int, int] = (-1, 1)
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder(names, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return made.sign(self.key, SHA256())

    def server(
        self, name: str = "receiver.example.com", *, days: tuple[int, int] = (-1, 1), chain: bool = True
    ) -> ssl.SSLContext:
        """Return what a server shows that has a certificate of this authority, with or without those above it."""
        key = ec.generate_private_key(ec.SECP256R1())
        shown = [self.sign(name, key, days=days)]
        if chain and self.above:
            shown.append(self.certificate)
        path = self.folder / f"{shown[0].serial_number}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in shown) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context
