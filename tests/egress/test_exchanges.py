"""Many uses of many lines: which are kept, which never again, and what is told of each."""

from __future__ import annotations

import socket
import threading
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from portal.egress import guard
from portal.egress.answers import GarbageError, StaleError, TooSlowError
from portal.egress.exchanges import Answered, Exchanges, Failed, Ready, Written
from tests.egress.servers import ACCEPTED, drip, hang_up, reset, say
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.egress.callers import Loop
    from tests.egress.servers import Line, Server


def test_use_is_told_step_by_step(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ask(server.url)
    assert [type(event) for event in loop.seen] == [Ready, Written, Answered]
    assert {event.key for event in loop.seen} == {server.url}
    assert len(loop.exchanges) == 0


def test_line_is_kept_for_the_next_request(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    for _ in range(5):
        assert loop.ask(server.url).status == 202
    assert (len(server.lines), len(server.requests)) == (1, 5)


def test_ready_line_waits_for_as_long_as_it_is_left(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ready(server.url, seconds=0.1)
    loop.rest(0.2)
    assert loop.send(server.url).status == 202


def test_line_given_back_unused_is_kept(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    for _ in range(3):
        loop.ready(server.url)
        loop.exchanges.drop(server.url)
    assert loop.ask(server.url).status == 202
    assert (len(server.lines), len(server.requests)) == (1, 1)


ENDS: dict[str, Line] = {
    "said so": say(b"HTTP/1.1 202 Accepted\r\nConnection: Keep-Alive, Close\r\nContent-Length: 0\r\n\r\n"),
    "older": say(b"HTTP/1.0 202 Accepted\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"),
    "until the end": say(b"HTTP/1.1 202 Accepted\r\n\r\n", then_close=True),
    "surplus": say(ACCEPTED + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "one byte": say(ACCEPTED + b"\n"),
    "nothing with a length": say(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n"),
    "nothing in chunks": say(b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "closed": say(ACCEPTED, then_close=True),
}


@pytest.mark.parametrize("behave", ENDS.values(), ids=ENDS)
def test_line_that_cannot_be_trusted_is_not_used_again(
    looping: Callable[..., Loop], serve: Callable[..., Server], behave: Line
) -> None:
    server = serve(behave)
    loop = looping(allow=server.allow)
    for number in (1, 2, 3):
        assert loop.ask(server.url).status in {202, 204, 304}
        assert len(server.lines) == number
        # What else the server does to the line arrives.
        time.sleep(0.02)


def test_line_on_which_a_message_was_cut_short_is_not_used_again(
    looping: Callable[..., Loop], serve: Callable[..., Server]
) -> None:
    def refuse(line: socket.socket) -> None:
        line.recv(1000)
        line.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    server = serve(lambda _line, _piece: None, greet=refuse)
    loop = looping(allow=server.allow)
    for number in (1, 2):
        assert loop.ask(server.url, body=b"x" * 30_000_000).status == 413
        assert len(server.lines) == number


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("leave", [hang_up, reset, lambda line: line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")])
def test_idle_line_that_was_left_or_spoken_on_is_found_before_it_is_used(
    looping: Callable[..., Loop],
    serve: Callable[..., Server],
    leave: Callable[[socket.socket], None],
    *,
    looked: bool,
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ask(server.url)
    leave(server.lines[0])
    # As long as nobody looks, nothing is found.
    time.sleep(0.05)
    if looked:
        loop.rest()
    assert loop.ask(server.url).status == 202
    assert (len(server.lines), len(server.requests)) == (2, 2)


@pytest.mark.parametrize("leave", [hang_up, lambda line: line.sendall(ACCEPTED)])
def test_kept_line_that_is_left_between_ready_and_send_is_stale_and_nothing_was_sent(
    looping: Callable[..., Loop], serve: Callable[..., Server], leave: Callable[[socket.socket], None]
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ask(server.url)
    loop.ready(server.url)
    leave(server.lines[0])
    loop.rest()
    with pytest.raises(StaleError) as error:
        loop.send(server.url)
    assert error.value.stale
    assert not error.value.maybe_sent
    assert len(server.requests) == 1
    assert loop.ask(server.url).status == 202


def test_answer_that_lies_ready_on_a_new_line_is_nobodys(
    looping: Callable[..., Loop], serve: Callable[..., Server]
) -> None:
    server = serve(say(b""), greet=lambda line: line.sendall(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ready(server.url)
    loop.rest()
    with pytest.raises(GarbageError) as error:
        loop.send(server.url)
    assert not error.value.maybe_sent
    assert not error.value.stale


@pytest.mark.parametrize("leave", [hang_up, reset])
def test_kept_line_that_is_cut_without_a_word_is_stale(
    looping: Callable[..., Loop], serve: Callable[..., Server], leave: Callable[[socket.socket], None]
) -> None:
    lives = iter([True, False])
    server = serve(lambda line, _request: line.sendall(ACCEPTED) if next(lives, True) else leave(line))
    loop = looping(allow=server.allow)
    loop.ask(server.url)
    with pytest.raises(StaleError) as error:
        loop.ask(server.url)
    assert error.value.maybe_sent
    assert loop.ask(server.url).status == 202


def test_ready_line_that_is_dropped_after_it_was_left_is_not_kept(
    looping: Callable[..., Loop], serve: Callable[..., Server]
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ready(server.url)
    until(lambda: server.lines)
    hang_up(server.lines[0])
    loop.rest()
    loop.exchanges.drop(server.url)
    assert loop.ask(server.url).status == 202
    assert len(server.lines) == 2


def test_kept_line_is_refused_when_its_name_leads_inside_now(
    looping: Callable[..., Loop], serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(say(ACCEPTED))
    # To a public address that is here: only what the name leads to now stands between the two uses.
    dial = socket.socket.connect_ex
    monkeypatch.setattr(socket.socket, "connect_ex", lambda own, _place: dial(own, ("127.0.0.1", server.port)))
    monkeypatch.setattr(guard, "_check_public_form", lambda _parts, _port: None)
    monkeypatch.setattr("portal.egress.names._REMEMBERED_SECONDS", 0.0)
    answers = chain([["93.184.215.14"]] * 2, [["8.8.8.8"]], repeat(["127.0.0.1"]))
    loop = looping(resolve=lambda _host, _port: next(answers))
    url = "http://receiver.example.com/in"
    for lines in (1, 1, 2):
        assert loop.ask(url).status == 202
        assert len(server.lines) == lines
    with pytest.raises(guard.UnsafeAddressError):
        loop.ask(url)
    assert len(server.requests) == 3


def test_idle_line_that_is_left_in_the_moment_its_name_is_found_is_seen_once(
    looping: Callable[..., Loop], serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.egress.names._REMEMBERED_SECONDS", 0.0)
    found = threading.Event()

    def look_up(_host: str, _port: int) -> list[str]:
        found.set()
        return ["127.0.0.1"]

    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow, resolve=look_up)
    url = f"http://receiver.example.com:{server.port}/in"
    loop.ask(url)
    loop.rest()
    found.clear()
    loop.exchanges.connect(url, url, seconds=1)
    # First the name, then the end of the line: the loop hears of both at once.
    found.wait(1)
    time.sleep(0.05)
    hang_up(server.lines[0])
    time.sleep(0.05)
    while not isinstance(loop.seen[-1], Ready):
        loop.rest(0.01)
    assert loop.send(url).status == 202
    assert len(server.lines) == 2


def test_idle_line_is_closed_after_a_while(
    looping: Callable[..., Loop], serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ask(server.url)
    loop.rest(0.01)
    assert len(_lines(loop.exchanges)) == 1
    now = time.monotonic()
    monkeypatch.setattr("portal.egress.kept.time.monotonic", lambda: now + 15.1)
    loop.exchanges.poll(0)
    assert _lines(loop.exchanges) == []


def test_one_that_hangs_keeps_nobody_waiting(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server, hanging = serve(say(ACCEPTED)), serve(say(b""))
    loop = looping(allow=server.allow | hanging.allow)
    _hang(loop, hanging, seconds=60)
    for _ in range(50):
        assert loop.ask(server.url).status == 202
    assert len(loop.exchanges) == 20


def test_each_that_hangs_is_told(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    hanging = serve(say(b""))
    loop = looping(allow=hanging.allow)
    _hang(loop, hanging, seconds=0.2)
    while len(loop.exchanges):
        loop.rest(0.01)
    failed = [event for event in loop.seen if isinstance(event, Failed)]
    assert len(failed) == 20
    assert all(isinstance(event.error, TooSlowError) and event.error.maybe_sent for event in failed)


def _hang(loop: Loop, hanging: Server, *, seconds: float) -> None:
    """Send twenty requests that nobody answers."""
    for each in range(20):
        loop.exchanges.connect(each, hanging.url, seconds=1)
    while sum(isinstance(event, Ready) for event in loop.seen) < 20:
        loop.rest(0.01)
    for each in range(20):
        loop.exchanges.send(each, body=b"x", headers={}, seconds=seconds)


def test_no_more_lines_are_open_than_may_be_and_what_waits_comes_in_turn(
    looping: Callable[..., Loop], serve: Callable[..., Server]
) -> None:
    opened: list[int] = []
    servers = [serve(_soon) for _ in range(40)]
    loop = looping(allow=frozenset().union(*(each.allow for each in servers)), lines=4)
    for server in servers:
        loop.exchanges.connect(server.url, server.url, seconds=0.5)
    answered = 0
    while answered < len(servers):
        for event in loop.exchanges.poll(1):
            assert not isinstance(event, Failed)
            if isinstance(event, Ready):
                loop.exchanges.send(event.key, body=b"x", headers={}, seconds=0.5)
            answered += isinstance(event, Answered)
        opened.append(len(_lines(loop.exchanges)))
    assert 2 <= max(opened) <= 4


def _soon(line: socket.socket, _request: bytes) -> None:
    # Long enough that several are under way at once.
    time.sleep(0.01)
    line.sendall(ACCEPTED)


def _lines(exchanges: Exchanges) -> list[object]:
    watched = exchanges._selector.get_map().values()  # noqa: SLF001 - nothing else knows what is open
    return [key.data for key in watched if key.data is not None]


def test_use_can_be_broken_off_at_any_time(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(drip(b"", b"H"))
    loop = looping(allow=server.allow | {"receiver.example.com:443"}, resolve=_slowly)
    loop.exchanges.connect("asked for", "https://receiver.example.com/", seconds=1)
    loop.exchanges.drop("asked for")
    loop.exchanges.connect("sent", server.url, seconds=1)
    while not any(isinstance(event, Ready) for event in loop.seen):
        loop.rest(0.01)
    loop.exchanges.send("sent", body=b"x", headers={}, seconds=1)
    loop.rest()
    loop.exchanges.drop("sent")
    loop.exchanges.drop("sent")
    # The name is found, and the server goes on: nobody is told.
    loop.rest(0.3)
    assert [type(event) for event in loop.seen] == [Ready, Written]
    assert len(loop.exchanges) == 0


def test_nothing_is_told_of_what_was_broken_off(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ask(server.url)
    told = len(loop.seen)
    for key, url in (("its line is there already", server.url), ("it may not be called", "https://10.0.0.1/")):
        loop.exchanges.connect(key, url, seconds=1)
        loop.exchanges.drop(key)
    loop.rest()
    assert loop.seen[told:] == []


def _slowly(host: str, _port: int) -> list[str]:
    time.sleep(0.1 if host == "receiver.example.com" else 0)
    return ["127.0.0.1"]


def test_key_is_one_use_at_a_time(looping: Callable[..., Loop], serve: Callable[..., Server]) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.exchanges.connect("key", server.url, seconds=1)
    with pytest.raises(ValueError, match="key"):
        loop.exchanges.connect("key", server.url, seconds=1)


@pytest.mark.parametrize(
    "headers", [{"A": "b\r\nX: y"}, {"A\r\nX": "b"}, {"A ": "b"}, {"": "b"}, {"Host": "a"}, {"content-length": "1"}]
)
def test_header_cannot_be_taken_for_another(
    looping: Callable[..., Loop], serve: Callable[..., Server], headers: dict[str, str]
) -> None:
    server = serve(say(ACCEPTED))
    loop = looping(allow=server.allow)
    loop.ready(server.url)
    with pytest.raises(ValueError, match="header"):
        loop.exchanges.send(server.url, body=b"x", headers=headers, seconds=1)
    assert server.requests == []


def test_many_hosts_at_once_in_one_thread(looping: Callable[..., Loop]) -> None:
    lines: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        threading.Thread(target=_answer_all, args=(listener, lines), daemon=True).start()
        port = listener.getsockname()[1]
        urls = [f"http://host{number}.example.com:{port}/in" for number in range(2000)]
        allow = frozenset(f"host{number}.example.com:{port}" for number in range(2000))
        loop = looping(allow=allow, resolve=lambda _host, _port: ["127.0.0.1"], lines=300)
        for url in urls:
            loop.exchanges.connect(url, url, seconds=3)
        statuses: list[int] = []
        while len(loop.exchanges):
            for event in loop.exchanges.poll(1):
                if isinstance(event, Ready):
                    loop.exchanges.send(event.key, body=b"x", headers={}, seconds=3)
                elif isinstance(event, Answered):
                    statuses.append(event.answer.status)
                assert not isinstance(event, Failed)
        assert statuses == [202] * 2000
        asking = [each.name for each in threading.enumerate() if "resolver" in each.name]
        assert 0 < len(asking) <= 64
        listener.shutdown(socket.SHUT_RDWR)
    for line in lines:
        line.close()


def _answer_all(listener: socket.socket, lines: list[socket.socket]) -> None:
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        lines.append(line)
        line.sendall(ACCEPTED) if line.recv(65536) else line.close()
