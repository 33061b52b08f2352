"""Keeping values: sealed, in versions, one change after the other, and announced with what follows from them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from sqlalchemy import text

from portal import db, events
from portal.consumer import queries, services
from portal.consumer.catalogue import CATALOGUE
from portal.consumer.models import CurrentRecord, Value
from portal.vault import persons
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consumer.formats import JsonValue
    from portal.vault.keyring import Keyring

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
CANARY = "canary-Ní-Bhriain-7f3a"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[events.RecordChanged]:
    """Every fact announced while the test runs, to nobody but the test."""
    facts: list[events.RecordChanged] = []
    monkeypatch.setitem(events._listeners, events.RecordChanged, [lambda _session, fact: facts.append(fact)])  # noqa: SLF001 - the only way to listen for one test
    return facts


def save(session: Session, keys: Keyring, person: UUID, at: datetime = NOW, **values: JsonValue | None) -> int:
    changes = {name.replace("__", "."): value for name, value in values.items()}
    return services.save(session, keyring=keys, person_id=person, changes=changes, now=at)


def current(session: Session, keys: Keyring, person: UUID) -> dict[str, JsonValue]:
    return {name: held.value for name, held in queries.current(session, keyring=keys, person_id=person).items()}


def test_a_change_is_one_sequence_and_one_fact(
    session: Session, keys: Keyring, person: UUID, heard: list[events.RecordChanged]
) -> None:
    assert save(session, keys, person, name__full="Prince", contact__channel="post") == 1
    (fact,) = heard
    assert (fact.sequence, set(fact.attributes), fact.at) == (1, {"name.full", "contact.channel"}, NOW)
    held = queries.current(session, keyring=keys, person_id=person)["name.full"]
    assert (held.version, held.sequence, held.value, held.changed_at) == (1, 1, "Prince", NOW)
    assert held.confirmed_at == NOW


def test_what_is_already_so_is_left_out(
    session: Session, keys: Keyring, person: UUID, heard: list[events.RecordChanged]
) -> None:
    save(session, keys, person, name__full="Prince", contact__channel="post")
    assert save(session, keys, person, name__full="Prince", contact__channel="text") == 2
    assert save(session, keys, person, name__full="Prince", birth__date=None) == 2
    assert [fact.attributes for fact in heard[1:]] == [("contact.channel",)]
    assert queries.current(session, keyring=keys, person_id=person)["name.full"].version == 1


def test_a_removed_value_is_null_for_those_who_had_it(session: Session, keys: Keyring, person: UUID) -> None:
    save(session, keys, person, name__full="Prince")
    assert save(session, keys, person, name__full=None) == 2
    assert current(session, keys, person) == {}
    vault = persons.unlock(session, keyring=keys, person_id=person)
    sealed = queries.entries(session, person_id=person)
    opened = queries.open_entries(vault, sealed, ["name.full", "birth.date"])
    assert {name: (entry.version, entry.json_text) for name, entry in opened.items()} == {"name.full": (2, "null")}
    assert save(session, keys, person, name__full="Symbol") == 3
    assert queries.current(session, keyring=keys, person_id=person)["name.full"].version == 3


def test_unknown_attributes_are_refused_before_anything_is_written(
    session: Session, keys: Keyring, person: UUID
) -> None:
    with pytest.raises(services.UnknownAttributeError):
        save(session, keys, person, name__full="Prince", shoe__size="44")
    assert queries.sequence(session, person_id=person) == 0


def test_nobody_is_brought_back_by_a_change(session: Session, keys: Keyring) -> None:
    with pytest.raises(SealBrokenError):
        save(session, keys, db.new_id(), name__full="Nobody")


def test_no_plaintext_stands_in_the_tables(
    session: Session, keys: Keyring, person: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    save(session, keys, person, name__full=CANARY, address__home={"country": "IE", "formatted": CANARY})
    for table in (Value, CurrentRecord):
        rows = session.execute(text(f"SELECT t::text FROM {table.__tablename__} t"))  # noqa: S608 - our own names
        for (row,) in rows:
            assert CANARY not in row
            assert CANARY.encode().hex() not in row
    assert CANARY not in caplog.text
    held = queries.current(session, keyring=keys, person_id=person)
    past = queries.history(session, keyring=keys, person_id=person)
    assert CANARY not in repr((held, past))


def test_a_value_moved_to_another_person_does_not_open(
    session: Session, keys: Keyring, person: UUID, somebody_else: UUID
) -> None:
    save(session, keys, person, name__full="Prince")
    save(session, keys, somebody_else, name__full="Else")
    stolen = queries.entries(session, person_id=person)["name.full"]
    vault = persons.unlock(session, keyring=keys, person_id=somebody_else)
    with pytest.raises(SealBrokenError):
        queries.open_entries(vault, {"name.full": stolen}, ["name.full"])


def test_history_tells_each_version_newest_first(session: Session, keys: Keyring, person: UUID) -> None:
    save(session, keys, person, name__full="One")
    save(session, keys, person, LATER, name__full="Two", contact__channel="post")
    past = queries.history(session, keyring=keys, person_id=person, attribute="name.full")
    assert [(item.version, item.value, item.changed_at, item.replaced_at) for item in past] == [
        (2, "Two", LATER, None),
        (1, "One", NOW, LATER),
    ]
    whole = queries.history(session, keyring=keys, person_id=person, limit=2)
    assert [(item.attribute, item.version) for item in whole] == [("contact.channel", 1), ("name.full", 2)]


def undo(session: Session, keys: Keyring, person: UUID, version: int, at: datetime) -> int:
    return services.undo(session, keyring=keys, person_id=person, attribute="name.full", version=version, now=at)


def test_undo_puts_a_version_back_as_a_new_one(session: Session, keys: Keyring, person: UUID) -> None:
    save(session, keys, person, name__full="One")
    save(session, keys, person, LATER, name__full="Two")
    assert undo(session, keys, person, 1, LATER + timedelta(days=14)) == 3
    newest = queries.history(session, keyring=keys, person_id=person, attribute="name.full")[0]
    assert (newest.version, newest.value, newest.restores) == (3, "One", 1)


def test_undo_ends_after_fourteen_days(session: Session, keys: Keyring, person: UUID) -> None:
    save(session, keys, person, name__full="One")
    save(session, keys, person, LATER, name__full="Two")
    with pytest.raises(services.TooLateError):
        undo(session, keys, person, 1, LATER + timedelta(days=14, seconds=1))
    assert current(session, keys, person) == {"name.full": "Two"}


def test_undo_of_what_stands_changes_nothing(session: Session, keys: Keyring, person: UUID) -> None:
    save(session, keys, person, name__full="One")
    assert undo(session, keys, person, 1, LATER) == 1
    with pytest.raises(services.UnknownVersionError):
        undo(session, keys, person, 2, LATER)


@pytest.fixture
def confirmed(monkeypatch: pytest.MonkeyPatch) -> list[events.RecordConfirmed]:
    told: list[events.RecordConfirmed] = []
    monkeypatch.setitem(events._listeners, events.RecordConfirmed, [lambda _session, fact: told.append(fact)])  # noqa: SLF001 - the registry has no way to forget
    return told


def test_confirming_is_no_change_and_is_announced_once_for_all(
    session: Session, keys: Keyring, person: UUID, heard: list[events.RecordChanged],
    confirmed: list[events.RecordConfirmed],
) -> None:  # fmt: skip
    save(session, keys, person, name__full="One", contact__channel="post", phone__home="+35314000000")
    services.confirm(session, person_id=person, versions={"name.full": 1, "phone.home": 1}, now=LATER)
    held = queries.current(session, keyring=keys, person_id=person)
    assert (held["name.full"].confirmed_at, held["contact.channel"].confirmed_at) == (LATER, NOW)
    assert (held["name.full"].version, held["name.full"].changed_at) == (1, NOW)
    assert queries.sequence(session, person_id=person) == 2
    assert len(heard) == 1
    [fact] = confirmed
    assert (set(fact.attributes), fact.sequence) == ({"name.full", "phone.home"}, 2)


def test_nobody_confirms_what_they_have_not_seen(
    session: Session, keys: Keyring, person: UUID, confirmed: list[events.RecordConfirmed]
) -> None:
    save(session, keys, person, name__full="One", phone__home="+35314000000")
    save(session, keys, person, name__full="Two", phone__home=None)
    seen = {"name.full": 1, "phone.home": 2, "birth.date": 1}
    assert services.confirm(session, person_id=person, versions=seen, now=LATER) == ()
    assert (queries.sequence(session, person_id=person), confirmed) == (2, [])


def test_confirming_twice_within_a_day_is_confirming_once(
    session: Session, keys: Keyring, person: UUID, confirmed: list[events.RecordConfirmed]
) -> None:
    save(session, keys, person, name__full="One")
    for _ in range(2):
        services.confirm(session, person_id=person, versions={"name.full": 1}, now=LATER)
    assert len(confirmed) == 1


def test_a_change_after_a_confirmation_is_a_change(session: Session, keys: Keyring, person: UUID) -> None:
    save(session, keys, person, name__full="One")
    services.confirm(session, person_id=person, versions={"name.full": 1}, now=LATER)
    save(session, keys, person, name__full="Two")
    entry = queries.entries(session, person_id=person)["name.full"]
    assert (entry["version"], entry["sequence"], entry.get("confirmed_sequence")) == (2, 3, None)


def test_a_suggested_value_awaits_its_person(session: Session, keys: Keyring, person: UUID) -> None:
    services.save(session, keyring=keys, person_id=person, changes={"name.full": "X"}, now=NOW, changed_by="Brightwell")
    assert queries.current(session, keyring=keys, person_id=person)["name.full"].confirmed_at is None


def test_two_at_once_wait_for_each_other(settings: Settings, keys: Keyring, person: UUID) -> None:
    """Eight connections, four on a person without a record: no version is lost and none comes twice."""
    start = threading.Barrier(8)
    sequences: list[int] = []

    def edit(number: int) -> None:
        start.wait()
        for turn in range(5):
            with db.transaction(settings.database_url) as session:
                sequences.append(save(session, keys, person, name__full=f"{number}-{turn}"))

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.transaction(settings.database_url) as session:
        past = queries.history(session, keyring=keys, person_id=person)
        assert sorted(sequences) == list(range(1, 41))
        assert [item.version for item in past] == list(range(40, 0, -1))
        assert current(session, keys, person) == {"name.full": past[0].value}


def test_the_second_waits_until_the_first_has_committed(settings: Settings, keys: Keyring, person: UUID) -> None:
    done = threading.Event()

    def second() -> None:
        with db.transaction(settings.database_url) as session:
            save(session, keys, person, contact__channel="post")
        done.set()

    with db.transaction(settings.database_url) as session:
        save(session, keys, person, name__full="First")
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.3)
    thread.join()
    with db.transaction(settings.database_url) as session:
        assert current(session, keys, person) == {"name.full": "First", "contact.channel": "post"}
        assert queries.sequence(session, person_id=person) == 2


def test_a_refused_listener_takes_the_change_with_it(
    settings: Settings, keys: Keyring, person: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_session: Session, _fact: events.RecordChanged) -> None:
        raise RuntimeError

    monkeypatch.setitem(events._listeners, events.RecordChanged, [refuse])  # noqa: SLF001 - for this test only
    with pytest.raises(RuntimeError), db.transaction(settings.database_url) as session:
        save(session, keys, person, name__full="Prince")
    with db.transaction(settings.database_url) as session:
        assert queries.entries(session, person_id=person) == {}


@trying(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(
        st.dictionaries(
            st.sampled_from(sorted(CATALOGUE)),
            st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=60)),
            min_size=1,
        ),
        max_size=5,
    )
)
def test_any_run_of_changes_ends_with_the_last_of_each(
    session: Session, keys: Keyring, changes: list[dict[str, JsonValue | None]]
) -> None:
    person = db.new_id()
    persons.create(session, keyring=keys, person_id=person)
    expected: dict[str, JsonValue | None] = {}
    for change in changes:
        services.save(session, keyring=keys, person_id=person, changes=change, now=NOW)
        expected |= change
    assert current(session, keys, person) == {k: v for k, v in expected.items() if v is not None}
