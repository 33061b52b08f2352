"""Receivers that can take fewer messages at once than they said, and companies that fetch fewer than there are."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from portal import config, db
from portal.consent import services as consent
from portal.sync import courier, jobs, messages, polling, stream_events
from tests.sync.outbox_steps import entries
from tests.sync.receiver import Receiver, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.sync.cast import Firm, Shared, World
    from tests.sync.receiver import Message, Reply

# draft-deshpande-secevent-http-multi-set-push-03 section 2.5.
TOO_MANY = json.dumps({"err": "too_many_sets", "description": "fewer, please"}).encode()


@pytest.fixture
def firm(world: World) -> Firm:
    """A company that said it takes fifty at once."""
    made = world.firm()
    world.set_stream(made, batch=50)
    return made


def crowd(world: World, firm: Firm, count: int) -> list[Shared]:
    return [world.share(world.person(), firm) for _ in range(count)]


def takes(firm: Firm, most: int, *, status: int = 413, body: bytes = b"") -> list[int]:
    """Let a receiver refuse whatever holds more than `most`; return what will hold the size of each request."""
    sizes: list[int] = []

    def pick(sets: dict[str, str]) -> Reply:
        sizes.append(len(sets))
        if len(sets) > most:
            return status, {}, body
        return Receiver._receive_many(firm.receiver, sets)  # noqa: SLF001 - how many come at once is its own

    firm.receiver._receive_many = pick  # noqa: SLF001 - as above
    return sizes


def all_arrived(world: World, everyone: Sequence[Shared]) -> bool:
    rows = [world.delivery(shared) for shared in everyone]
    return all(row.acked_generation == row.generation and not row.held for row in rows)


def outcomes(world: World, shared: Shared) -> list[str]:
    """Return what the person's log says, oldest first."""
    return [entry.outcome for entry in reversed(entries(world, shared.person_id))]


def test_too_many_are_halved_until_they_fit(world: World, firm: Firm) -> None:
    everyone = crowd(world, firm, 8)
    sizes = takes(firm, 2)
    jobs.drain()
    assert sorted(sizes, reverse=True) == [8, 4, 4, 2, 2, 2, 2]
    assert all_arrived(world, everyone)
    assert {tuple(outcomes(world, shared)) for shared in everyone} == {("failed", "failed", "completed")}
    assert {world.delivery(shared).attempts for shared in everyone} == {0}
    # Each message had one id all along, and nothing is held against the endpoint.
    assert len({message.jti for message in firm.receiver.journal}) == len(firm.receiver.journal) == 8
    stream = world.endpoint(firm)
    assert (stream.state, stream.failures, stream.circuit_until) == ("enabled", 0, None)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_of_many_is_sent_one_by_one_whatever_it_says(world: World, firm: Firm, status: int) -> None:
    everyone = crowd(world, firm, 5)
    sizes = takes(firm, 1, status=status, body=TOO_MANY)
    jobs.drain()
    assert sizes == [5, 1, 1, 1, 1, 1]
    assert all_arrived(world, everyone)


def test_what_is_too_large_by_itself_waits_for_somebody(world: World, firm: Firm) -> None:
    everyone = crowd(world, firm, 2)
    sizes = takes(firm, 0)
    jobs.drain()
    assert sizes == [2, 1, 1]
    rows = [world.delivery(shared) for shared in everyone]
    assert [(row.held, row.last_problem) for row in rows] == [(True, "It answered 413.")] * 2


def test_others_get_as_many_as_they_said(world: World, firm: Firm) -> None:
    other = world.firm()
    world.set_stream(other, batch=50)
    sizes, others = takes(firm, 2), takes(other, 50)
    everyone = crowd(world, firm, 4) + crowd(world, other, 4)
    jobs.drain()
    assert (sizes, others) == ([4, 2, 2], [4])
    assert all_arrived(world, everyone)


def test_after_a_while_as_many_as_it_said_are_tried_again(world: World, firm: Firm) -> None:
    everyone = crowd(world, firm, 4)
    takes(firm, 2)
    jobs.drain()
    sizes = takes(firm, 50)
    narrowed = courier.of(config.current())._narrowed  # noqa: SLF001 - ten minutes pass
    stream_id = world.endpoint(firm).stream_id
    most, until = narrowed[stream_id]
    assert 0 < until - time.monotonic() <= 600
    narrowed[stream_id] = most, 0.0
    for shared in everyone:
        world.save(shared.person_id, email__main="x@example.org")
    jobs.drain()
    assert sizes == [4]


def fetch(world: World, firm: Firm, most: int, acknowledged: Sequence[str] = ()) -> tuple[list[Message], bool]:
    """Poll once, and return what came, in order, and whether more was said to wait."""
    asked = polling.Asked(most=most, at_once=True, acknowledged=acknowledged, errors={})
    found = polling.poll(world.settings, keyring=world.keyring, client_id=firm.client_id, asked=asked)
    keys = world.portal_keys()
    return [read(token, portal_keys=keys, key=firm.receiver.key) for token in found.sets.values()], found.more


def tell(world: World, firm: Firm, count: int) -> None:
    """Owe messages about the stream itself."""
    for _ in range(count):
        world.transact(
            lambda session: stream_events.announce(
                session, client_id=firm.client_id, kind=messages.KEYS_CHANGED, payload={"kid": "k"}, now=db.now()
            )
        )


def test_what_push_could_not_get_rid_of_is_fetched_under_the_same_ids(world: World, firm: Firm) -> None:
    """Refused for its size, nothing of it is held: whoever turns to polling gets each message, one at a time."""
    crowd(world, firm, 3)
    refused: set[str] = set()

    def refuse(sets: dict[str, str]) -> Reply:
        refused.update(sets)
        return 413, {}, b""

    firm.receiver._receive_many = refuse  # noqa: SLF001 - as above
    firm.receiver.behave = lambda number: None if number == 1 else (503, {}, b"")
    jobs.drain()
    world.set_stream(firm, method="poll")
    fetched: list[Message] = []
    more = True
    while more:
        found, more = fetch(world, firm, 1, [message.jti for message in fetched[-1:]])
        fetched += found
    assert sorted(message.jti for message in fetched) == sorted(refused)


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_each_is_fetched_once_and_what_is_about_the_stream_first(world: World, firm: Firm, most: int) -> None:
    """RFC 8936 section 2.3: `moreAvailable` says so as long as anything waits, of either kind."""
    world.set_stream(firm, method="poll")
    tell(world, firm, 3)
    subs = sorted(shared.sub for shared in crowd(world, firm, 2))
    seen: list[Message] = []
    rounds, more = 0, True
    while more:
        found, more = fetch(world, firm, most, [message.jti for message in seen[-most:]])
        assert len(found) <= most
        seen += found
        rounds += 1
    kinds = [messages.KEYS_CHANGED in message.claims["events"] for message in seen]
    assert kinds == [True] * 3 + [False] * 2
    assert sorted(message.claims["sub_id"]["sub"] for message in seen[3:]) == subs
    assert rounds == -(-5 // most)


@pytest.mark.parametrize("state", ["enabled", "paused"])
def test_more_of_the_stream_alone_is_said_too(world: World, firm: Firm, state: str) -> None:
    world.set_stream(firm, method="poll", state=state)
    tell(world, firm, 3)
    found, more = fetch(world, firm, 2)
    expected: Any = (2, True) if state == "enabled" else (0, False)
    assert (len(found), more) == expected


def test_who_shares_less_twice_is_told_as_it_is_now(world: World, firm: Firm) -> None:
    """Narrowed twice, once before the first was fetched and once before it was acknowledged."""
    world.set_stream(firm, method="poll")
    [shared] = crowd(world, firm, 1)
    first, _ = fetch(world, firm, 10)
    fetch(world, firm, 0, [message.jti for message in first])
    world.save(shared.person_id, email__main="secret@example.org", phone__mobile="+353851234567")
    narrow(world, shared, "name.full", "phone.mobile")
    [second], _ = fetch(world, firm, 10)
    assert second.consent is not None
    assert second.consent["attributes"] == ["name.full", "phone.mobile"]
    assert "email.main" not in second.values
    narrow(world, shared, "name.full")
    [third], more = fetch(world, firm, 10, [second.jti])
    assert third.consent is not None
    assert (third.consent["attributes"], third.consent["change"]) == (["name.full"], "changed")
    assert third.values.keys() <= {"name.full"}
    assert not more
    assert fetch(world, firm, 10, [third.jti]) == ([], False)


def narrow(world: World, shared: Shared, *attributes: str) -> None:
    given: dict[str, Any] = {"mode": "kept-up-to-date", "days": None, "level": 2, "shown": {}, "now": db.now()}
    world.transact(
        lambda session: consent.change(
            session, person_id=shared.person_id, grant_id=shared.grant_id, attributes=attributes, keep_end=True, **given
        )
    )
