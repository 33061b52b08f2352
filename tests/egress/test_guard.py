"""Addresses that must not be called, in every spelling that has fooled somebody."""

from __future__ import annotations

import pytest

from portal.egress import guard

PUBLIC = "93.184.215.14"


def check(url: str, *answers: str, allow: frozenset[str] = frozenset()) -> guard.Target:
    return guard.check(url, allow=allow, resolve=lambda _host, _port: list(answers))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",  # noqa: S104
        "100.64.0.1", "100.100.100.200", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "168.63.129.16", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:93.184.215.14", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1",
        "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "garbage", "",
    ],
)  # fmt: skip
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert not guard.is_public(address)
    with pytest.raises(guard.UnsafeAddressError):
        check("https://receiver.example.com/", address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001:81b::200e"])
def test_public_address_passes(address: str) -> None:
    assert check("https://receiver.example.com/in", address).address == address


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example.com/", "ftp://receiver.example.com/", "file:///etc/passwd", "gopher://a.example.com/",
        "//receiver.example.com/", "receiver.example.com", "", "https://", "https:///x", "https://?x",
        "https://127.0.0.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/",
        "https://0x7f.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/",
        "https://localhost/", "https://intranet/", "https://receiver/", "https://a.b.1/", "https://1.2.3.0x4/",
        "https://user@receiver.example.com/", "https://user:pw@receiver.example.com/", "https://@receiver.example.com/",
        "https://receiver.example.com:22/", "https://receiver.example.com:0/", "https://receiver.example.com:99999/",
        "https://receiver.example.com:8080/", "https://receiver.example.com:x/",
        "https://receiver.example.com\\@127.0.0.1/", "https://receiver.example.com/\r\nX: y",
        "https://receiver.example.com/ x", "https://receiver.example.com/#part", "https://①②⑦.⓪.⓪.①/",
        "https://rec\u0435iver.example.com/", "https://-a.example.com/", "https://a-.example.com/",
        "https://a..example.com/", "https://.example.com/", "https://receiver.example.com./",
        "https://receiver.example.com/" + "a" * 2048, "https://" + "a" * 64 + ".example.com/",
        "https://receiver.example.com\t/", "https://receiver.example.com\x00/", "HTTPS:receiver.example.com",
    ],
)  # fmt: skip
def test_url_of_a_wrong_form_is_refused_whatever_it_leads_to(url: str) -> None:
    with pytest.raises(guard.UnsafeAddressError):
        check(url, PUBLIC)


def test_one_private_answer_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(guard.UnsafeAddressError):
        check("https://receiver.example.com/", PUBLIC, "127.0.0.1")


def test_name_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(guard.UnknownNameError):
        check("https://receiver.example.com/")


def test_allowed_pair_may_be_plain_and_local_but_only_exactly_this_one() -> None:
    allow = frozenset({"127.0.0.1:9000"})
    assert check("http://127.0.0.1:9000/in", "127.0.0.1", allow=allow).tls is False
    for url in ("http://127.0.0.1:9001/", "http://localhost:9000/", "https://127.0.0.1/", "http://u@127.0.0.1:9000/"):
        with pytest.raises(guard.UnsafeAddressError):
            check(url, "127.0.0.1", allow=allow)


def test_host_header_carries_the_port_unless_it_is_the_usual_one() -> None:
    assert check("https://receiver.example.com/", PUBLIC).host_header == "receiver.example.com"
    assert check("https://receiver.example.com:8443/", PUBLIC).host_header == "receiver.example.com:8443"
