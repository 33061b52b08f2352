"""What is sent and what is taken for an answer, against servers that do what servers should not."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

import pytest

from portal.egress import answers
from portal.egress.answers import GarbageError, NoAnswerError, TooLongError, TooSlowError, UnreachableError
from portal.egress.client import Client
from tests.egress.servers import ACCEPTED, drip, hang_up, reply, reset, say, waits
from tests.timing import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.egress.callers import Asker, Ground
    from tests.egress.servers import Line, Server


def post(ask: Asker, server: Server, *, seconds: float = 1.0, body: bytes = b"x") -> answers.Answer:
    return ask(server.url, allow=server.allow, seconds=seconds, body=body)


def problem(ask: Asker, server: Server, body: bytes = b"x") -> NoAnswerError:
    """Return why a request that is given 0.3 s came to nothing."""
    with pytest.raises(NoAnswerError) as error:
        post(ask, server, seconds=0.3, body=body)
    return error.value


def too_slow(ask: Asker, url: str, **ground: Unpack[Ground]) -> TooSlowError:
    with pytest.raises(TooSlowError) as error:
        ask(url, seconds=0.3, **ground)
    return error.value


def test_request_says_what_it_should_and_nothing_of_the_environment(
    ask: Asker, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = serve(reply("HTTP/1.1 202 Accepted\nContent-Length: 2\nContent-Type: text/plain; charset=x\n\nok"))
    answer = ask(f"{server.url}?a=b&c", allow=server.allow)
    assert (answer.status, answer.body, answer.content_type) == (202, b"ok", "text/plain")
    assert server.requests == [
        b"POST /in?a=b&c HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"User-Agent: Ultimate-Customer-Master\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Accept: c/d\r\n"
        b"Content-Type: a/b\r\n"
        b"Content-Length: 1\r\n"
        b"\r\n"
        b"x" % server.port
    ]


def test_what_is_fetched_is_asked_for_without_a_body(serve: Callable[..., Server]) -> None:
    server = serve(reply("HTTP/1.1 200 OK\nContent-Length: 2\nContent-Type: application/json\n\n{}"))
    answer = Client(allow=server.allow).get(f"http://127.0.0.1:{server.port}", accept="application/json", seconds=1)
    assert (answer.status, answer.body) == (200, b"{}")
    assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"Accept: application/json\r\n" in server.requests[0]
    assert b"Content-" not in server.requests[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_comes_back_as_it_is(ask: Asker, serve: Callable[..., Server], status: int) -> None:
    other = serve(say(ACCEPTED))
    server = serve(reply(f"HTTP/1.1 {status} Elsewhere\nLocation: {other.url}\nContent-Length: 0\n\n"))
    assert post(ask, server).status == status
    assert other.lines == []


ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "counted": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "not even a space": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "the same length twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length:2\r\n\r\nok", 200, b"ok"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=y\r\no\r\n01\r\nk\r\n0\r\nA: b\r\n\r\n",
        200,
        b"ok",
    ),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nok", 200, b"ok"),
    "older": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "nothing with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n", 304, b""),
    "interim first": (b"HTTP/1.1 103 Early\r\nLink: </>\r\n\r\nHTTP/1.1 100 \r\n\r\n" + ACCEPTED, 202, b""),
    "more than asked for": (ACCEPTED + b"HTTP/1.1 500 No\r\n\r\n", 202, b""),
    "packed": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b!", 200, b"\x1f\x8b!"),
    "refused": (b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", 413, b""),
}  # fmt: skip


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize(("raw", "status", "body"), ANSWERS.values(), ids=ANSWERS)
def test_answer_is_read(
    ask: Asker, serve: Callable[..., Server], raw: bytes, status: int, body: bytes, *, slowly: bool
) -> None:
    def byte_by_byte(line: socket.socket, _request: bytes) -> None:
        for position in range(len(raw)):
            line.sendall(raw[position : position + 1])
            # Each byte leaves by itself.
            time.sleep(0.0005)
        hang_up(line)

    answer = post(ask, serve(byte_by_byte if slowly else say(raw, then_close=True)), seconds=3)
    assert (answer.status, answer.body) == (status, body)


OK = b"HTTP/1.1 200 OK\r\n"
GARBAGE = {
    "nothing": b"",
    "bytes": b"\x00\xff\xfe" * 50,
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "HTTP/9": b"HTTP/9.9 abc\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/2 frames": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "HTTP/0.9": b"<html></html>",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 0": b"HTTP/1.1 000 No\r\n\r\n",
    "status 999": b"HTTP/1.1 999 No\r\n\r\n",
    "status in other digits": "HTTP/1.1 ２００ OK\r\n\r\n".encode(),  # noqa: RUF001 - they are what is tried
    "blank line first": b"\r\n" + ACCEPTED,
    "bare newlines": ACCEPTED.replace(b"\r\n", b"\n"),
    "bare return": OK + b"A: b\rContent-Length: 0\r\n\r\n",
    "null in a header": OK + b"A: b\x00\r\nContent-Length: 0\r\n\r\n",
    "folded": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "no colon": OK + b"Content-Length\r\n\r\n",
    "no name": OK + b": b\r\nContent-Length: 0\r\n\r\n",
    "header too long": OK + b"A: " + b"b" * 70_000,
    "headers too many": OK + b"A: b\r\n" * 4000 + b"Content-Length: 0\r\n\r\n",
    "headers cut short": OK + b"Content-Length: 2\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    "lengths in a list": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "negative length": OK + b"Content-Length: -2\r\n\r\nok",
    "positive length": OK + b"Content-Length: +2\r\n\r\nok",
    "length with an underscore": OK + b"Content-Length: 0_2\r\n\r\nok",
    "length in hex": OK + b"Content-Length: 0x2\r\n\r\nok",
    "empty length": OK + b"Content-Length:\r\n\r\nok",
    "body cut short": OK + b"Content-Length: 3\r\n\r\nok",
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
    "coding with a tail": OK + b"Transfer-Encoding: chunked;q=1\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "old chunks": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\nok\r\n0\r\n\r\n",
    "negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
    "chunk in 0x": OK + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
    "chunk longer than it says": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n",
    "chunk cut short": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nok",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "long chunk extension": OK + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 400 + b"\r\nok\r\n0\r\n\r\n",
    "too many chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 2000 + b"0\r\n\r\n",
    "trailers without an end": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 5000,
    "odd trailer": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA b\r\n\r\n",
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "switch, then an answer": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + ACCEPTED,
    "only interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "flood of interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + ACCEPTED,
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_told_in_words(ask: Asker, serve: Callable[..., Server], raw: bytes) -> None:
    with pytest.raises(GarbageError) as error:
        post(ask, serve(say(raw, then_close=True)))
    assert error.value.public == "It closed the connection or answered with garbage."
    assert error.value.maybe_sent
    assert not error.value.stale


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"\r\n" + b"a" * 70_000,
        OK + b"Content-Length: 65537\r\n\r\n",
        OK + b"Content-Length: 999999999999\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"a" * 0x8000 + b"\r\n8001\r\n",
    ],
)
def test_longer_answer_than_64_kib_is_cut(ask: Asker, serve: Callable[..., Server], raw: bytes) -> None:
    with pytest.raises(TooLongError) as error:
        post(ask, serve(say(raw)))
    assert error.value.public == "Its answer was longer than 64 KiB."


def test_endless_body_is_cut_at_once(ask: Asker, serve: Callable[..., Server]) -> None:
    sent: list[int] = []

    def endless(line: socket.socket, _request: bytes) -> None:
        line.sendall(OK + b"\r\n")
        while True:
            line.sendall(b"a" * 65536)
            sent.append(65536)

    with pytest.raises(TooLongError):
        post(ask, serve(endless), seconds=30)
    # No more than fits into the buffers between them.
    assert sum(sent) < 32 * 1024 * 1024


def test_longest_answer_that_is_taken(ask: Asker, serve: Callable[..., Server]) -> None:
    for head in ("HTTP/1.1 200 OK\nContent-Length: 65536\n\n", "HTTP/1.1 200 OK\nConnection: close\n\n"):
        server = serve(say(head.replace("\n", "\r\n").encode() + b"a" * 65_536, then_close=True))
        assert len(post(ask, server).body) == 65_536


def test_bomb_of_200_megabytes_is_not_inflated(ask: Asker, serve: Callable[..., Server]) -> None:
    whole = gzip.compress(b"\0" * 20_000_000) * 10
    with pytest.raises(TooLongError):
        post(ask, serve(reply(f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(whole)}\n\n", whole)))
    part = whole[:60_000]
    answer = post(ask, serve(reply("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 60000\n\n", part)))
    assert answer.body == part


SLOW = [
    (b"", b"H"),
    (b"HTTP/1.1 200 OK\r\n", b"X-"),
    (OK + b"Content-Length: 60000\r\n\r\n", b"a"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    (OK + b"\r\n", b"a"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 60000\r\n\r\n", b"a"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP"),
]


@pytest.mark.parametrize(("first", "piece"), SLOW)
def test_dripping_answer_ends_in_time(ask: Asker, serve: Callable[..., Server], first: bytes, piece: bytes) -> None:
    error = within(0.8, lambda: problem(ask, serve(drip(first, piece))))
    assert error.maybe_sent
    # Two bytes a time make headers that are none in the end; the others would go on for ever.
    assert error.too_slow or isinstance(error, GarbageError)


def test_silence_ends_in_time(ask: Asker, serve: Callable[..., Server]) -> None:
    error = problem(ask, serve(say(b"")))
    assert isinstance(error, TooSlowError)
    assert error.public == "It did not answer in time."
    assert error.maybe_sent


def test_server_that_reads_nothing_of_a_long_message_ends_in_time(ask: Asker, serve: Callable[..., Server]) -> None:
    over = threading.Event()
    error = within(0.8, lambda: problem(ask, serve(say(b""), greet=lambda _line: waits(over)), b"x" * 30_000_000))
    over.set()
    assert isinstance(error, TooSlowError)
    assert error.maybe_sent


def test_listener_that_accepts_nobody_ends_in_time(ask: Asker) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fill = [socket.create_connection(("127.0.0.1", port), 0.2)]
        url, allow = f"http://127.0.0.1:{port}/", frozenset({f"127.0.0.1:{port}"})
        error = within(0.8, lambda: too_slow(ask, url, allow=allow))
        fill[0].close()
    assert not isinstance(error, UnreachableError)


def test_name_server_that_hangs_ends_in_time(ask: Asker) -> None:
    over = threading.Event()

    def hang(_host: str, _port: int) -> list[str]:
        waits(over)
        return []

    error = within(0.8, lambda: too_slow(ask, "https://receiver.example.com/", resolve=hang))
    over.set()
    assert not error.maybe_sent


def test_closed_port_is_told_in_words_and_nothing_was_sent(ask: Asker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError) as error:
        ask(f"http://127.0.0.1:{port}/", allow=frozenset({f"127.0.0.1:{port}"}))
    assert error.value.public == "Nobody accepts connections there."
    assert not error.value.maybe_sent


def test_address_that_answers_is_found_behind_one_that_does_not(ask: Asker, serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    url = f"http://receiver.example.com:{server.port}/in"
    assert ask(url, allow=server.allow, resolve=lambda _host, _port: ["::1", "127.0.0.1"]).status == 202


def _half(line: socket.socket, _request: bytes) -> None:
    line.sendall(OK)
    reset(line)


CUTS: dict[str, Line] = {
    "close": lambda line, _request: hang_up(line),
    "reset": lambda line, _request: reset(line),
    "half an answer, then reset": _half,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_line_that_is_cut_after_reading_may_have_brought_the_message(
    ask: Asker, serve: Callable[..., Server], cut: Line
) -> None:
    with pytest.raises(GarbageError) as error:
        post(ask, serve(cut))
    assert error.value.maybe_sent
    assert not error.value.stale


@pytest.mark.parametrize("leave", [hang_up, reset])
def test_line_that_is_cut_when_accepted(
    ask: Asker, serve: Callable[..., Server], leave: Callable[[socket.socket], None]
) -> None:
    with pytest.raises((GarbageError, UnreachableError)):
        post(ask, serve(say(b""), greet=leave))


def test_server_that_has_said_its_last_word_but_listens_is_heard(ask: Asker, serve: Callable[..., Server]) -> None:
    def half_close(line: socket.socket, _request: bytes) -> None:
        line.sendall(b"HTTP/1.1 202 Accepted\r\n\r\n")
        line.shutdown(socket.SHUT_WR)

    assert post(ask, serve(half_close)).status == 202


def test_server_that_refuses_a_long_message_before_it_has_read_it_is_heard(
    ask: Asker, serve: Callable[..., Server]
) -> None:
    def refuse(line: socket.socket) -> None:
        line.recv(1000)
        line.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        # It is read before the line is cut.
        time.sleep(0.2)
        reset(line)

    assert post(ask, serve(say(b""), greet=refuse), body=b"x" * 30_000_000).status == 413


def test_server_that_accepts_what_it_has_not_read_is_not_believed(ask: Asker, serve: Callable[..., Server]) -> None:
    def accept(line: socket.socket) -> None:
        line.recv(1000)
        line.sendall(ACCEPTED)
        # Nothing more is read while the sender could go on.
        time.sleep(0.5)

    with pytest.raises(GarbageError) as error:
        post(ask, serve(say(b""), greet=accept), body=b"x" * 30_000_000)
    assert error.value.maybe_sent


@pytest.mark.parametrize(
    "authorization", ["a\r\nX: y", "a\nX: y", "a\rX", "a\x00", "a\x7f", "\u00e9", "\u560d\u560aX: y"]
)
def test_header_cannot_begin_another(serve: Callable[..., Server], authorization: str) -> None:
    server = serve(say(ACCEPTED))
    with pytest.raises(ValueError, match="Authorization"):
        Client(allow=server.allow).post(
            server.url, b"x", content_type="a/b", accept="c/d", seconds=1, authorization=authorization
        )
    assert server.requests == []


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
