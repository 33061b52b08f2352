"""Messages about a stream and nobody: who is owed them, in which order they go, and when they are settled."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select, update

from portal import db, events
from portal.sync import health, messages, services, stream_events
from portal.sync.models import StreamEvent
from portal.sync.rules import Outcome, Result
from portal.vault import signing
from tests.counting import statements
from tests.sync.receiver import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.sync.stream_events import StreamParcel
    from tests.sync.cast import Firm, World

_ARRIVED = Result(outcome=Outcome.COMPLETED, status=202)
_FAILED = Result(outcome=Outcome.FAILED, status=500, detail="It answered 500.")


@pytest.fixture(autouse=True)
def nothing_else(world: World) -> Iterator[None]:
    """Leave the table as it was found: empty, so that what is claimed is a test's own."""
    world.transact(lambda session: session.execute(delete(StreamEvent)))
    yield
    world.transact(lambda session: session.execute(delete(StreamEvent)))


def announce(world: World, firm: Firm, kind: str = messages.KEYS_CHANGED, **payload: Any) -> None:  # noqa: ANN401 - JSON
    world.transact(
        lambda session: stream_events.announce(
            session, client_id=firm.client_id, kind=kind, payload=payload, now=db.now()
        )
    )


def claim(world: World) -> list[StreamParcel]:
    found: list[StreamParcel] = world.transact(lambda session: stream_events.claim(session, limit=10, lease_seconds=20))
    return found


def finish(world: World, parcel: StreamParcel, result: Result) -> None:
    world.transact(lambda session: stream_events.finish(session, [(parcel, result)], now=db.now()))


def kept(world: World, firm: Firm) -> list[StreamEvent]:
    mine = select(StreamEvent).where(StreamEvent.client_id == firm.client_id).order_by(StreamEvent.created_at)
    found: list[StreamEvent] = world.transact(lambda session: session.scalars(mine).all())
    return found


def test_one_at_a_time_and_the_oldest_first(world: World) -> None:
    firm = world.firm()
    for number in (1, 2):
        announce(world, firm, number=number)
    [first] = claim(world)
    assert (first.payload, first.url) == ({"number": 1}, firm.receiver.url)
    assert claim(world) == []
    finish(world, first, _ARRIVED)
    [second] = claim(world)
    assert second.payload == {"number": 2}
    finish(world, second, _ARRIVED)
    assert claim(world) == []
    assert all(each.delivered_at for each in kept(world, firm))


def test_what_failed_waits_and_keeps_its_identifier(world: World) -> None:
    firm = world.firm()
    announce(world, firm)
    [parcel] = claim(world)
    finish(world, parcel, _FAILED)
    assert claim(world) == []
    [row] = kept(world, firm)
    assert row.due_at > db.now()
    assert (row.attempts, row.last_problem) == (1, "It answered 500.")
    world.transact(lambda session: session.execute(update(StreamEvent).values(due_at=db.now())))
    [again] = claim(world)
    assert again.jti == parcel.jti


def test_what_is_refused_is_told_once(world: World) -> None:
    firm = world.firm()
    announce(world, firm)
    [parcel] = claim(world)
    finish(world, parcel, Result(outcome=Outcome.FAILED, status=400, detail="It answered 400."))
    [row] = kept(world, firm)
    assert row.delivered_at is not None
    assert row.last_problem == "It answered 400."


def test_a_lease_that_ran_out_says_nothing_any_more(world: World) -> None:
    firm = world.firm()
    announce(world, firm)
    [lost] = claim(world)
    world.transact(lambda session: session.execute(update(StreamEvent).values(leased_until=db.now())))
    [held] = claim(world)
    finish(world, lost, _ARRIVED)
    assert kept(world, firm)[0].delivered_at is None
    finish(world, held, _ARRIVED)
    assert kept(world, firm)[0].delivered_at is not None


def test_however_many_are_noted_in_one_statement(world: World) -> None:
    """Of a new signing key every stream is told at once."""
    for firm in (firms := [world.firm(), world.firm()]):
        announce(world, firm)
    parcels = claim(world)
    results = [_ARRIVED if parcel.client_id == firms[0].client_id else _FAILED for parcel in parcels]
    with statements(world.settings) as seen:
        done = list(zip(parcels, results, strict=True))
        world.transact(lambda session: stream_events.finish(session, done, now=db.now()))
    assert len(seen) == 1
    [first], [second] = (kept(world, firm) for firm in firms)
    assert (first.delivered_at is None, second.delivered_at is None) == (False, True)
    assert (first.lease_id, second.lease_id, second.last_problem) == (None, None, "It answered 500.")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"state": "paused"}, {messages.STREAM_UPDATED}),
        ({"state": "disabled"}, {messages.STREAM_UPDATED}),
        ({"state": "disabled", "disabled_at": db.now()}, set()),
        ({"circuit_until": db.now() + timedelta(days=1)}, set()),
        ({"method": "poll", "url": None}, set()),
    ],
)
def test_a_stream_that_rests_is_told_only_that_it_does(world: World, values: dict[str, Any], told: set[str]) -> None:
    firm = world.firm()
    world.set_stream(firm, **values)
    announce(world, firm)
    announce(world, firm, messages.STREAM_UPDATED, status=values.get("state", "enabled"))
    assert {parcel.kind for parcel in claim(world)} == told
    assert world.transact(stream_events.due) is False


def test_of_several_changes_of_status_the_last_is_told(world: World) -> None:
    firm = world.firm()
    for status in ("paused", "enabled"):
        announce(world, firm, messages.STREAM_UPDATED, status=status)
    assert [each.payload for each in kept(world, firm)] == [{"status": "enabled"}]


def test_who_has_no_stream_is_owed_nothing(world: World) -> None:
    firm = world.firm(enabled=False)
    announce(world, firm)
    assert kept(world, firm) == []


def test_the_message_is_about_the_stream(world: World) -> None:
    """OpenID Shared Signals 1.0 section 8.1.4.1: the subject is the stream."""
    firm = world.firm()
    announce(world, firm, number=1)
    [parcel] = claim(world)
    settings = world.settings

    def make(session: Any) -> str:  # noqa: ANN401 - a session
        signer = signing.current(session, keyring=world.keyring)
        return stream_events.build(parcel, signer, issuer=settings.issuer, now=db.now()).token

    claims = read(world.transact(make), portal_keys=world.portal_keys(), key=firm.receiver.key).claims
    assert claims["sub_id"] == {"format": "opaque", "id": str(world.endpoint(firm).stream_id)}
    assert claims["events"] == {messages.KEYS_CHANGED: {"number": 1}}
    assert claims["jti"] == parcel.jti


def test_a_stream_that_is_turned_off_because_it_fails_says_so_and_again_when_it_is_back(world: World) -> None:
    """OpenID Shared Signals 1.0 section 8.1.5."""
    events.listen(events.StreamStatusChanged, stream_events.on_status_changed)
    firm = world.firm()
    assert kept(world, firm) == []
    gone = Result(outcome=Outcome.FAILED, status=410)
    heard = [health.Heard(world.endpoint(firm).stream_id, firm.receiver.url, gone)]
    world.transact(lambda session: health.note(session, heard))
    [off] = kept(world, firm)
    assert off.payload["status"] == "disabled"
    assert "410" in off.payload["reason"]
    assert claim(world) == []
    world.transact(
        lambda session: services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
    )
    [parcel] = claim(world)
    assert parcel.payload == {"status": "enabled"}


def test_every_stream_is_told_of_another_signing_key(world: World) -> None:
    events.listen(events.SigningKeysChanged, stream_events.on_signing_keys_changed)
    firm, other = world.firm(), world.firm()
    with db.sessions(world.settings.database_url)() as session:
        made = signing.rotate(session, keyring=world.keyring, now=db.now() + signing.TURN)
        found = session.scalars(select(StreamEvent).where(StreamEvent.client_id.in_([firm.client_id, other.client_id])))
        told = {each.client_id: each.payload for each in found}
        session.rollback()
    assert told.keys() == {firm.client_id, other.client_id}
    assert told[firm.client_id]["kid"] == made.kid
    assert told[firm.client_id]["signs_from"] == made.signs_from.isoformat()
    assert told[firm.client_id]["others_withdrawn"] is False


def test_what_nobody_fetched_is_forgotten_after_thirty_days(world: World) -> None:
    firm = world.firm()
    announce(world, firm)
    for days, left in ((29, 1), (31, 0)):
        late = db.now() + timedelta(days=days)
        world.transact(partial(stream_events.forget, now=late))
        assert len(kept(world, firm)) == left
