"""Addresses that must not be called, in every spelling that has fooled somebody, held against all that calls."""

from __future__ import annotations

import errno
import socket
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from portal.egress import guard
from portal.egress.answers import UnreachableError
from tests.egress.attacks import ANSWERS, FORMS, PUBLIC, URL

if TYPE_CHECKING:
    from tests.egress.callers import Asker

ATTACKS = [
    *(pytest.param(URL, answers, id=name) for name, answers in ANSWERS.items()),
    *(pytest.param(url, [PUBLIC], id=f"form, {name}") for name, url in FORMS.items()),
]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where sockets were told to connect to; nobody is there."""
    places: list[Any] = []

    def refuse(_socket: socket.socket, place: Any) -> int:  # noqa: ANN401 - as `socket` has it
        places.append(place)
        return errno.ECONNREFUSED

    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return places


@pytest.mark.parametrize(("url", "answers"), ATTACKS)
def test_attack_is_refused_by_the_guard(url: str, answers: list[str]) -> None:
    with pytest.raises(guard.UnsafeAddressError):
        guard.check(url, allow=frozenset(), resolve=lambda _host, _port: answers)


@pytest.mark.parametrize(("url", "answers"), ATTACKS)
def test_attack_is_refused_by_what_sends(ask: Asker, dialled: list[Any], url: str, answers: list[str]) -> None:
    with pytest.raises(guard.UnsafeAddressError):
        ask(url, resolve=lambda _host, _port: answers)
    assert dialled == []


@pytest.mark.parametrize("url", FORMS.values(), ids=FORMS)
def test_name_in_a_refused_url_is_not_even_asked_for(ask: Asker, url: str) -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC]

    with pytest.raises(guard.UnsafeAddressError):
        ask(url, resolve=resolve)
    assert asked == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001:81b::200e"])
def test_public_address_is_dialled_itself_and_its_name_asked_for_once(
    ask: Asker, dialled: list[Any], address: str
) -> None:
    answers = chain([[address]], repeat(["127.0.0.1"]))
    with pytest.raises(UnreachableError):
        ask(URL, resolve=lambda _host, _port: next(answers))
    assert dialled == [(address, 443)]


def test_every_public_address_of_a_name_is_tried(ask: Asker, dialled: list[Any]) -> None:
    with pytest.raises(UnreachableError):
        ask("https://receiver.example.com:8443/", resolve=lambda _host, _port: [PUBLIC, "8.8.8.8", PUBLIC])
    assert dialled == [(PUBLIC, 8443), ("8.8.8.8", 8443)]


def test_name_that_changes_its_mind_is_refused_at_the_next_use(ask: Asker, dialled: list[Any]) -> None:
    answers = chain([[PUBLIC]], repeat(["127.0.0.1"]))
    with pytest.raises(UnreachableError):
        ask(URL, resolve=lambda _host, _port: next(answers))
    with pytest.raises(guard.UnsafeAddressError):
        ask(URL, resolve=lambda _host, _port: next(answers))
    assert dialled == [(PUBLIC, 443)]
