"""Where a company is told: which addresses are taken, and how an endpoint proves that it is theirs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.egress import guard
from portal.sync import jobs, services

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.sync.models import Stream
    from tests.sync.cast import Firm, World


@pytest.fixture
def firm(world: World) -> Firm:
    return world.firm(enabled=False)


def ask(world: World, firm: Firm, url: str) -> services.Challenge:
    def make(session: Session) -> services.Challenge:
        return services.challenge(session, keyring=world.keyring, client_id=firm.client_id, url=url, now=db.now())

    made: services.Challenge = world.transact(make)
    return made


def prove(world: World, firm: Firm) -> Stream:
    url = firm.receiver.url

    def enable(session: Session) -> Stream:
        return services.enable_endpoint(session, client_id=firm.client_id, url=url, now=db.now())

    services.await_echo(ask(world, firm, url))
    made: Stream = world.transact(enable)
    return made


@pytest.mark.parametrize("url", ["http://example.org/", "https://127.0.0.1/", "https://localhost/", "nonsense"])
def test_unsafe_address_is_not_kept(world: World, firm: Firm, url: str) -> None:
    with pytest.raises(guard.UnsafeAddressError):
        services.await_echo(ask(world, firm, url))
    assert world.endpoint(firm) is None


def test_echo_enables_the_endpoint_and_owes_it_what_is_shared(world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    jobs.drain()
    assert firm.receiver.requests == 0
    assert prove(world, firm).state == "enabled"
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["name.full"] == (1, "Ada Byrne")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b'{"state": "another"}', "did not answer with JSON"),
        (200, b'{"state": 5}', "did not answer with JSON"),
        (200, b"[]", "did not answer with JSON"),
        (200, b"\xff", "did not answer with JSON"),
        (202, json.dumps({"state": "x"}).encode(), "It answered 202"),
        (302, b"", "It answered 302"),
        (500, b"", "It answered 500"),
    ],
)
def test_anything_else_enables_nothing_and_says_why(
    world: World, firm: Firm, status: int, body: bytes, words: str
) -> None:
    firm.receiver.behave = lambda _number: (status, {"Location": "/elsewhere"}, body)
    with pytest.raises(services.ProofFailedError) as error:
        prove(world, firm)
    assert words in error.value.public
    assert world.endpoint(firm) is None
