"""What may be called, and under which name; what may not is in `test_attacks`."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.egress import guard
from portal.egress.lines import compose

PUBLIC = "93.184.215.14"


def check(url: str, *answers: str, allow: frozenset[str] = frozenset()) -> guard.Target:
    return guard.check(url, allow=allow, resolve=lambda _host, _port: list(answers))


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001:81b::200e"])
def test_public_address_passes(address: str) -> None:
    assert check("https://receiver.example.com/in", address).address == address


def test_allowed_pair_may_be_plain_and_local_but_only_exactly_this_one() -> None:
    allow = frozenset({"127.0.0.1:9000"})
    assert check("http://127.0.0.1:9000/in", "127.0.0.1", allow=allow).tls is False
    for url in ("http://127.0.0.1:9001/", "http://localhost:9000/", "https://127.0.0.1/", "http://u@127.0.0.1:9000/"):
        with pytest.raises(guard.UnsafeAddressError):
            check(url, "127.0.0.1", allow=allow)


def test_host_header_carries_the_port_unless_it_is_the_usual_one() -> None:
    assert check("https://receiver.example.com/", PUBLIC).host_header == "receiver.example.com"
    assert check("https://receiver.example.com:8443/", PUBLIC).host_header == "receiver.example.com:8443"


@pytest.mark.parametrize("letter", ["\u017f", "\u212a", "\u0131", "\u0130"])
@pytest.mark.parametrize("url", ["https://receiver.example.com/{}", "https://{}receiver.example.com/"])
def test_letters_that_only_pass_for_plain_ones_are_refused(url: str, letter: str) -> None:
    with pytest.raises(guard.UnsafeAddressError):
        check(url.format(letter), PUBLIC)


_WORDS = [
    "https://", "HTTPS:", "http://", "//", "/", "\\", "receiver", ".example", ".com", "receiver.example.com", ".", ":",
    "443", ":8443", ":22", "@", "user", "?", "#", "%", "%0d%0a", "%2e", "[", "]", "::1", "127.0.0.1", "0x7f", "xn--",
    "-", "_", ";", "\r\n", "\t", " ", "\x00", "\u2460", "\u3002", "\u00ad", "\ud800", "&", "=", "a" * 64, "localhost",
    "\u017f", "\u212a",
]  # fmt: skip


@given(url=st.lists(st.sampled_from(_WORDS), max_size=9).map("".join) | st.text(max_size=40))
@settings(max_examples=500, deadline=1000)
@example("https://receiver.example.com:443/a;b?c=%0d%0aX:y&//")
@example("https://receiver.example.com:8443?x")
def test_any_text_is_refused_or_leads_where_it_says_in_one_request(url: str) -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [PUBLIC]

    try:
        target = guard.check(url, allow=frozenset(), resolve=resolve)
    except guard.UnsafeAddressError:
        assert asked == []
        return
    assert asked == [(target.host, target.port)]
    assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*[a-z0-9]", target.host)
    assert target.tls
    assert target.port in {443, 8443}
    head, _, body = compose("POST", target, {"A": "b"}, b"").partition(b"\r\n\r\n")
    first, *others = head.split(b"\r\n")
    assert re.fullmatch(rb"POST [/?][!-~]* HTTP/1\.1", first)
    assert [each.partition(b":")[0] for each in others] == [
        b"Host", b"User-Agent", b"Accept-Encoding", b"A", b"Content-Length",
    ]  # fmt: skip
    assert body == b""
