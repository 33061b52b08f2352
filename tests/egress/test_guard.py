"""What may be called, and under which name; what may not is in `test_attacks`."""

from __future__ import annotations

import pytest

from portal.egress import guard

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
