"""The night's look finds whatever the log has and the world has not, the other way round, and a tree that was changed.

A story of every kind of disclosure is told once, in a database of its own; each thing is broken and mended again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url, text

from portal import config, db, events
from portal.app import create_app
from portal.ledger import publisher, sequencer
from portal.sync import batch_requests, batches, courier, reconciliation, services
from portal.sync.pulls import Desk
from portal.vault import signing
from portal.vault.notes import Signer
from tests.ledger.log_place import ORIGIN, Place
from tests.sync.caller import Caller
from tests.sync.cast import World
from tests.sync.test_polling import open_stream, poll
from tests.sync.test_receipts import receipt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.embedded.postgres import Postgres
    from portal.sync.models import Reconciliation
    from portal.vault.keyring import Keyring

LATER = timedelta(hours=1)
SIGNER = Signer(ORIGIN, bytes(range(32)))
_COUNTED = {
    "tries": 4, "messages": 4, "acknowledgements": 4, "looks": 4, "prepared answers": 1, "receipts": 1,
    "disclosures": 12, "consents": 4, "rows": 12, "outcomes": 4, "entries": 16, "tiles": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def story(postgres: Postgres, settings: Settings, keys: Keyring, tmp_path_factory: pytest.TempPathFactory) -> str:
    events.listen(events.RecordChanged, services.on_record_changed)
    events.listen(events.GrantChanged, services.on_grant_changed)
    place = Place(postgres)
    own = replace(settings, database_url=place.url, database_owner_url=place.url)
    world = World(own, keys)
    world.transact(lambda session: signing.ensure(session, keyring=keys, now=db.now()))
    tell(world, own, keys)
    head = tmp_path_factory.mktemp("head") / "head"
    world.transact(lambda session: sequencer.grow(session, origin=ORIGIN, now=db.now()))
    world.transact(lambda session: publisher.publish(session, signer=SIGNER, head=head, now=db.now()))
    world.close()
    place.close()
    owner = make_url(settings.database_owner_url).set(database=make_url(place.url).database)
    return owner.render_as_string(hide_password=False)


def tell(world: World, settings: Settings, keys: Keyring) -> None:
    """Push, poll, pull, ask for many and say what became of it."""
    pushed, polled = world.firm(), world.firm(enabled=False)
    world.transact(lambda session: open_stream(session, polled))
    app = create_app(settings)
    shares = [world.share(world.person(), firm) for firm in (pushed, pushed, polled, pushed)]
    drained = courier.Courier(replace(settings, egress_allow=config.current().egress_allow))
    drained.drain(time.monotonic() + 5)
    drained.close()
    collecting = Caller(app.test_client(), world, polled)
    poll(collecting, ack=list(poll(collecting)))
    caller = Caller(app.test_client(), world, pushed)
    path = f"/api/v1/people/{shares[0].sub}"
    etag = caller.get(path).headers["ETag"]
    assert [caller.get(path).status_code, caller.get(path, headers={"If-None-Match": etag}).status_code] == [200, 304]
    assert (
        caller.post("/api/v1/receipts", json={"receipts": [receipt(pushed.receiver.journal[0].jti)]}).status_code == 200
    )
    ask_for_many(world, pushed.client_id, [shares[1].sub], keys)


def ask_for_many(world: World, client_id: str, subjects: list[str], keys: Keyring) -> None:
    def request(session: Any) -> Any:  # noqa: ANN401 - a session; a pull
        asked: dict[str, Any] = {"client_id": client_id, "subjects": subjects, "attributes": (), "now": db.now()}
        return batch_requests.request_pull(session, **asked).pull_id

    def answer(session: Any) -> None:  # noqa: ANN401 - a session
        taken = batches.take(session, pull_id=pull_id)
        assert taken
        desk = Desk(
            keyring=keys, signer=signing.current(session, keyring=keys), issuer="https://p.example", now=db.now()
        )
        batches.answer_some(session, taken, desk, most=1000)

    pull_id = world.transact(request)
    world.transact(answer)


@pytest.fixture
def session(story: str) -> Iterator[Session]:
    """What the owner of the database does with the triggers out of the way, and takes back."""
    with db.sessions(story)() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        yield session
        session.rollback()


def look(session: Session) -> Reconciliation:
    now = db.now() + LATER
    night = reconciliation.begin(session, now=now)
    assert night is not None
    while reconciliation.advance(session, night, now=now):
        pass
    return night


def test_what_happened_is_what_the_log_says(session: Session) -> None:
    night = look(session)
    assert reconciliation.said(night) == []
    assert night.counts == _COUNTED


_ONE = """(person_id, at, disclosure_id) = (
    SELECT person_id, at, disclosure_id FROM disclosure WHERE channel = '{}' ORDER BY at LIMIT 1)"""
_CHANNELS = {channel: _ONE.format(channel) for channel in ("push", "poll", "pull", "batch")}
_UNSEEN = """
    INSERT INTO disclosure SELECT (jsonb_populate_record(d, jsonb_build_object(
        'disclosure_id', gen_random_uuid(), 'written_by', 1, 'channel', 'consent', 'outcome', 'completed'))).*
      FROM disclosure d LIMIT 1
"""
_OF_NOTHING = """
    INSERT INTO disclosure_outcome SELECT (jsonb_populate_record(o, jsonb_build_object(
        'disclosure_id', gen_random_uuid(), 'written_by', 1))).* FROM disclosure_outcome o LIMIT 1
"""
_FLIPPED = "UPDATE log_tile SET hashes = set_byte(hashes, 70, 255 - get_byte(hashes, 70))"


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("DELETE FROM disclosure WHERE channel = 'push'",
         {"sent-not-logged", "outcome-of-nothing", "receipt-not-logged", "entry-gone"}),
        ("DELETE FROM disclosure WHERE {poll}",
         {"sent-not-logged", "outcome-of-nothing", "entry-gone"}),
        ("DELETE FROM disclosure WHERE {pull}", {"looks-differ", "entry-gone"}),
        ("DELETE FROM disclosure WHERE {batch}",
         {"looks-differ", "prepared-not-logged", "entry-gone"}),
        ("DELETE FROM attempt WHERE channel = 'poll'", {"logged-not-sent"}),
        ("UPDATE attempt SET outcome = 'failed' WHERE channel = 'poll'", {"outcome-differs"}),
        ("DELETE FROM disclosure_outcome WHERE outcome = 'completed'", {"outcome-differs", "entry-gone"}),
        ("UPDATE grant_use SET used = used + 1 WHERE kind = 'check'", {"looks-differ"}),
        ("DELETE FROM grant_use", {"looks-differ"}),
        ("UPDATE batch_pull_item SET disclosure_id = gen_random_uuid()", {"prepared-not-logged"}),
        ("UPDATE receipt SET jti = 'another'", {"receipt-not-logged"}),
        ("UPDATE grant_version SET attributes = '[]'", {"beyond-consent", "step-changed"}),
        ("UPDATE grant_version SET state = 'paused'", {"beyond-consent", "step-changed"}),
        ("UPDATE grant_version SET hash = sha256(hash)", {"step-changed", "step-not-logged"}),
        ("DELETE FROM grant_version", {"beyond-consent", "consent-differs"}),
        ("UPDATE \"grant\" SET attributes = attributes || '[\"birth.date\"]'", {"consent-differs"}),
        ('UPDATE "grant" SET purpose_id = gen_random_uuid()', {"consent-differs"}),
        ("UPDATE \"grant\" SET expires_at = now() + interval '1 year'", {"consent-differs"}),
        ("UPDATE \"grant\" SET state = 'active', version = version + 1", {"consent-differs"}),
        (_UNSEEN, {"not-in-log"}),
        (_OF_NOTHING, {"outcome-not-in-log", "outcome-of-nothing"}),
        ("UPDATE disclosure SET given = '[]' WHERE {push}", {"entry-changed"}),
        ("UPDATE disclosure_outcome SET milliseconds = 0", {"entry-changed"}),
        ("UPDATE disclosure_context SET company_name = 'Somebody else'", {"entry-changed"}),
        ("UPDATE log_head SET secret = set_byte(secret, 0, 255 - get_byte(secret, 0))", {"entry-changed"}),
        ("UPDATE log_head SET n = n + 1", {"head-differs"}),
        ("DELETE FROM log_head", {"entry-changed", "head-differs"}),
        ("UPDATE log_entry SET n = n + 1", {"entry-changed", "entry-misplaced", "head-differs"}),
        ("DELETE FROM log_entry WHERE outcome = '' AND {batch}",
         {"not-in-log", "size-differs", "head-differs"}),
        (_FLIPPED, {"entry-changed", "root-differs"}),
        ("DELETE FROM log_tile", {"entry-changed", "head-differs", "tile-differs", "root-differs"}),
        ("UPDATE log SET size = size - 1", {"tile-differs", "size-differs"}),
    ],
)  # fmt: skip
def test_whatever_is_broken_is_named(session: Session, broken: str, found: set[str]) -> None:
    session.execute(text(broken.format(**_CHANNELS)))
    night = look(session)
    assert set(night.wrong) == found
    assert len(reconciliation.said(night)) == len(found)
