"""The guarded client against real loopback servers that do what servers should not."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from portal import db
from portal.egress import answers, client, guard
from portal.egress.client import Client, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Line = Callable[[socket.socket, bytes], None]


class Server:
    """Reads one request a connection and lets `behave` do the rest with the bare socket."""

    def __init__(self, behave: Line, wrap: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        self._behave, self._wrap = behave, wrap
        if wrap is not None:
            wrap.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

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
                    while request := wrapped.recv(65536):
                        self.requests.append(request)
                        self._behave(wrapped, request)
            except OSError:
                return


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def start(behave: Line, wrap: ssl.SSLContext | None = None) -> Server:
        made.append(Server(behave, wrap))
        return made[-1]

    yield start
    for server in made:
        server.close()


def post(server: Server, *, seconds: float = 1.0, body: bytes = b"x") -> client.Answer:
    caller = Client(allow=frozenset({f"127.0.0.1:{server.port}"}))
    return caller.post(f"http://127.0.0.1:{server.port}/in", body, content_type="a/b", accept="c/d", seconds=seconds)


def reply(text: str, body: bytes = b"") -> Line:
    return lambda line, _request: line.sendall(text.replace("\n", "\r\n").encode() + body)


def drip(first: bytes, piece: bytes) -> Line:
    def forever(line: socket.socket, _request: bytes) -> None:
        line.sendall(first)
        while True:
            line.sendall(piece)
            time.sleep(0.02)

    return forever


def test_request_says_what_it_should_and_nothing_of_the_environment(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = serve(reply("HTTP/1.1 202 Accepted\nContent-Length: 2\nContent-Type: text/plain; charset=x\n\nok"))
    answer = post(server)
    assert (answer.status, answer.body, answer.content_type) == (202, b"ok", "text/plain")
    sent = server.requests[0]
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in sent
    assert b"Accept-Encoding: identity\r\n" in sent
    assert b"Cookie" not in sent


def test_redirect_comes_back_as_it_is(serve: Callable[..., Server]) -> None:
    other = serve(reply("HTTP/1.1 200 OK\nContent-Length: 0\n\n"))
    server = serve(reply(f"HTTP/1.1 307 Temporary\nLocation: http://127.0.0.1:{other.port}/\nContent-Length: 0\n\n"))
    assert post(server).status == 307
    assert other.requests == []


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n"[:1]),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"[:2]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        # Without a length the answer lasts as long as the line: its connection is closed before it is read.
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 60000\r\n\r\n", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_dripping_answer_ends_at_the_deadline(serve: Callable[..., Server], first: bytes, piece: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(NoAnswerError) as error:
        post(serve(drip(first, piece)), seconds=0.5)
    assert time.monotonic() - started < 1.2
    assert error.value.maybe_sent
    # A flood of interim answers is given up on before the deadline.
    assert error.value.too_slow or b"100" in piece


def test_silence_ends_at_the_deadline(serve: Callable[..., Server]) -> None:
    with pytest.raises(NoAnswerError) as error:
        post(serve(lambda _line, _request: time.sleep(2)), seconds=0.3)
    assert error.value.public == "It did not answer in time."


def test_endless_body_is_cut_at_64_kib(serve: Callable[..., Server]) -> None:
    def endless(line: socket.socket, _request: bytes) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            line.sendall(b"a" * 65536)

    with pytest.raises(NoAnswerError) as error:
        post(serve(endless), seconds=3)
    assert error.value.public == "Its answer was longer than 64 KiB."


def test_compressed_bomb_is_not_inflated(serve: Callable[..., Server]) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)
    head = f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(bomb)}\n\n"
    answer = post(serve(reply(head, bomb)), seconds=3)
    assert answer.body == bomb


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe" * 50,
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/9.9 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70000,
    ],
)
def test_garbage_is_told_in_words(serve: Callable[..., Server], garbage: bytes) -> None:
    def say(line: socket.socket, _request: bytes) -> None:
        line.sendall(garbage)
        line.close()

    with pytest.raises(NoAnswerError) as error:
        post(serve(say))
    assert error.value.public == "It closed the connection or answered with garbage."
    assert error.value.maybe_sent


def test_closed_port_is_told_in_words_and_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswerError) as error:
        Client(allow=frozenset({f"127.0.0.1:{port}"})).post(
            f"http://127.0.0.1:{port}/", b"", content_type="a/b", accept="c/d", seconds=1
        )
    assert error.value.public == "Nobody accepts connections there."
    assert not error.value.maybe_sent


def test_name_that_changes_its_mind_is_refused_at_the_next_use() -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    caller = Client(resolve=lambda _host, _port: next(answers))
    assert caller.check("https://rebind.example.com/").address == "93.184.215.14"
    with pytest.raises(guard.UnsafeAddressError):
        caller.check("https://rebind.example.com/")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for receiver.example.com with its key, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.example.com")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(db.now() - timedelta(days=1))
        .not_valid_after(db.now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


def post_by_tls(server: Server, host: str, trusted: Path | None) -> client.Answer:
    trust = ssl.create_default_context(cafile=trusted)
    caller = Client(allow=frozenset({f"{host}:{server.port}"}), resolve=lambda _host, _port: ["127.0.0.1"], trust=trust)
    return caller.post(f"https://{host}:{server.port}/", b"x", content_type="a/b", accept="c/d", seconds=2)


def test_tls_goes_to_the_checked_address_under_the_name(serve: Callable[..., Server], certificate: Path) -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate)
    server = serve(reply("HTTP/1.1 202 Accepted\nContent-Length: 0\n\n"), own)
    assert post_by_tls(server, "receiver.example.com", certificate).status == 202
    assert server.names == ["receiver.example.com"]


@pytest.mark.parametrize(("host", "trust_it"), [("other.example.com", True), ("receiver.example.com", False)])
def test_wrong_certificate_is_refused_before_anything_is_sent(
    serve: Callable[..., Server], certificate: Path, host: str, *, trust_it: bool
) -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate)
    server = serve(reply("HTTP/1.1 202 Accepted\nContent-Length: 0\n\n"), own)
    with pytest.raises(NoAnswerError) as error:
        post_by_tls(server, host, certificate if trust_it else None)
    assert "certificate" in error.value.public
    assert server.requests == []


def test_stalled_handshake_ends_at_the_deadline(serve: Callable[..., Server], certificate: Path) -> None:
    server = serve(drip(b"", b"\x16"))
    started = time.monotonic()
    trust = ssl.create_default_context(cafile=certificate)
    caller = Client(
        allow=frozenset({f"receiver.example.com:{server.port}"}), resolve=lambda _h, _p: ["127.0.0.1"], trust=trust
    )
    with pytest.raises(NoAnswerError):
        caller.post(f"https://receiver.example.com:{server.port}/", b"x", content_type="a/b", accept="c/d", seconds=0.5)
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("text", "seconds"), [("120", 120), ("0", 0), ("99999999999", 86_400), ("soon", None), ("", None), ("-5", None)]
)
def test_retry_after_in_seconds(text: str, seconds: int | None) -> None:
    wanted = answers.retry_after(text)
    assert wanted == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_as_a_date() -> None:
    wanted = answers.retry_after("Fri, 31 Dec 2100 23:59:59 GMT")
    assert wanted is not None
    assert wanted > timedelta(days=300)


def test_what_is_fetched_is_asked_for_without_a_body(serve: Callable[..., Server]) -> None:
    server = serve(reply("HTTP/1.1 200 OK\nContent-Length: 2\nContent-Type: application/json\n\n{}"))
    caller = Client(allow=frozenset({f"127.0.0.1:{server.port}"}))
    answer = caller.get(f"http://127.0.0.1:{server.port}/keys", accept="application/json", seconds=1)
    assert (answer.status, answer.body) == (200, b"{}")
    assert server.requests[0].startswith(b"GET /keys HTTP/1.1\r\n")
    assert b"Accept: application/json\r\n" in server.requests[0]
    assert b"Content-" not in server.requests[0]
