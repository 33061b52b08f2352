"""TLS as it is met: under the right name, to nobody who cannot prove it."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from portal.egress import exchanges
from portal.egress.answers import GarbageError, TooSlowError, UnreachableError, UntrustedError
from tests.egress.servers import ACCEPTED, Authority, drip, reply, reset, say, waits
from tests.timing import within

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.egress.callers import Asker, Loop
    from tests.egress.servers import Server

HOST = "receiver.example.com"


def here(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def url(server: Server, host: str = HOST) -> str:
    return f"https://{host}:{server.port}/in"


def post(ask: Asker, server: Server, trust: ssl.SSLContext, *, host: str = HOST, body: bytes = b"x") -> int:
    allow = frozenset({f"{host}:{server.port}"})
    return ask(url(server, host), allow=allow, resolve=here, trust=trust, seconds=2, body=body).status


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_checked_address_is_met_under_its_name(
    ask: Asker, serve: Callable[..., Server], authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.server()
    context.maximum_version = version
    server = serve(say(ACCEPTED), context)
    assert post(ask, server, authority.trusted) == 202
    assert server.names == [HOST]
    assert f"Host: {HOST}:{server.port}\r\n".encode() in server.requests[0]


def test_long_message_goes_through_in_records(ask: Asker, serve: Callable[..., Server], authority: Authority) -> None:
    body = bytes(range(256)) * 4096
    got: list[bytes] = []

    def whole(line: ssl.SSLSocket, piece: bytes) -> None:
        got.append(piece)
        if sum(map(len, got)) > len(body):
            line.sendall(ACCEPTED)

    assert post(ask, serve(whole, authority.server()), authority.trusted, body=body) == 202
    assert b"".join(got).endswith(b"\r\n\r\n" + body)


def test_long_answer_comes_through_in_records(ask: Asker, serve: Callable[..., Server], authority: Authority) -> None:
    body = b"a" * 65_536
    server = serve(reply(f"HTTP/1.1 200 OK\nContent-Length: {len(body)}\n\n", body), authority.server())
    answer = ask(url(server), allow=server.allow, resolve=here, trust=authority.trusted, seconds=2)
    assert answer.body == body


def _old(authority: Authority) -> ssl.SSLContext:
    context = authority.server()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _chainless(authority: Authority) -> ssl.SSLContext:
    return Authority("Between", authority.folder, authority).server(chain=False)


SHOWN: dict[str, Callable[[Authority], ssl.SSLContext]] = {
    "another name": lambda authority: authority.server("other.example.com"),
    "a name below": lambda authority: authority.server("a.receiver.example.com"),
    "the name as a suffix": lambda authority: authority.server("evil-receiver.example.com"),
    "too wide a wildcard": lambda authority: authority.server("*.com"),
    "expired": lambda authority: authority.server(days=(-3, -1)),
    "not yet valid": lambda authority: authority.server(days=(1, 3)),
    "self-signed": lambda authority: Authority(HOST, authority.folder).server(),
    "unknown authority": lambda authority: Authority("Root", authority.folder).server(),
    "link missing": _chainless,
    "TLS 1.1": _old,
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_who_cannot_prove_the_name_gets_nothing(
    ask: Asker, serve: Callable[..., Server], authority: Authority, shown: Callable[[Authority], ssl.SSLContext]
) -> None:
    server = serve(say(ACCEPTED), shown(authority))
    with pytest.raises(UntrustedError) as error:
        post(ask, server, authority.trusted)
    assert server.requests == []
    assert not error.value.maybe_sent


def test_whole_chain_is_trusted(ask: Asker, serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(say(ACCEPTED), Authority("Between", authority.folder, authority).server())
    assert post(ask, server, authority.trusted) == 202


def test_wildcard_of_the_same_level_is_trusted(ask: Asker, serve: Callable[..., Server], authority: Authority) -> None:
    assert post(ask, serve(say(ACCEPTED), authority.server("*.example.com")), authority.trusted) == 202


def test_plain_server_is_not_talked_to_in_plain(ask: Asker, serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(reply("HTTP/1.1 400 Bad\nContent-Length: 0\n\n"))
    with pytest.raises(UntrustedError):
        post(ask, server, authority.trusted)
    assert b"POST" not in b"".join(server.requests)


def test_what_is_trusted_by_default_is_nobody_here_and_nothing_old(
    ask: Asker, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = serve(say(ACCEPTED))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    exchanges.default_trust.cache_clear()
    context = exchanges.default_trust()
    assert not (tmp_path / "keys").exists()
    assert len(context.get_ca_certs()) > 0 or ssl.get_default_verify_paths().capath
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    with pytest.raises(UntrustedError):
        post(ask, server, context)


def test_stalled_handshake_ends_in_time(ask: Asker, serve: Callable[..., Server], authority: Authority) -> None:
    over = threading.Event()
    for greet in (lambda _line: waits(over), lambda line: drip(b"", b"\x16")(line, b"")):
        server = serve(say(b""), greet=greet)

        def shake(server: Server = server) -> None:
            with pytest.raises((TooSlowError, UntrustedError)):
                ask(url(server), allow=server.allow, resolve=here, trust=authority.trusted, seconds=0.4)

        within(1, shake)
    over.set()


def test_handshake_cut_off_is_told_and_nothing_was_sent(
    ask: Asker, serve: Callable[..., Server], authority: Authority
) -> None:
    with pytest.raises((GarbageError, UnreachableError)) as error:
        post(ask, serve(say(b""), greet=reset), authority.trusted)
    assert not error.value.maybe_sent


def test_line_of_one_name_is_no_good_for_another(
    looping: Callable[..., Loop], serve: Callable[..., Server], authority: Authority
) -> None:
    server = serve(say(ACCEPTED), authority.server())
    allow = server.allow | {f"other.example.com:{server.port}"}
    loop = looping(allow=allow, resolve=here, trust=authority.trusted)
    assert [loop.ask(url(server), seconds=2).status for _ in range(3)] == [202, 202, 202]
    assert len(server.lines) == 1
    with pytest.raises(UntrustedError):
        loop.ask(url(server, "other.example.com"), seconds=2)


class Losing(ssl.SSLContext):
    """Takes the socket and closes it, as the standard library does when the other side leaves meanwhile."""

    def wrap_socket(self, sock: socket.socket, *_args: object, **_options: object) -> ssl.SSLSocket:
        socket.socket(fileno=sock.detach()).close()
        raise ConnectionResetError


def test_line_that_tls_closes_on_its_own_is_watched_no_more(
    looping: Callable[..., Loop], serve: Callable[..., Server]
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow, resolve=here, trust=Losing(ssl.PROTOCOL_TLS_CLIENT))
    for _ in range(3):
        with pytest.raises(GarbageError):
            loop.ask(url(server))
        assert loop.ask(server.url).status == 202
        loop.exchanges.poll(0)
