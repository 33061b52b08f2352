"""Each night is begun once, goes on wherever it was left, and tells operators of what it has found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import ProgrammingError

from portal import config, db, doctor, queue
from portal.app import create_app
from portal.identity import operators
from portal.identity import services as identity
from portal.identity.models import BrowserSession
from portal.ledger import published, publisher, witnessing
from portal.sync import jobs, reconciliation, reconciliation_letters
from portal.sync.models import Reconciliation
from portal.vault import signing
from portal.vault.notes import WITNESS
from portal.worker import worker_of
from tests.consent.browser import Browser
from tests.identity.conftest import Mailbox, mail_settings, mailbox
from tests.ledger.log_place import Place
from tests.ledger.test_witnessing import NGO, SIGNER, Others, cosigned
from tests.test_cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portal.config import Settings
    from portal.embedded.postgres import Postgres
    from portal.vault.keyring import Keyring

__all__ = ["mail_settings", "mailbox"]
NIGHT = datetime(2026, 11, 20, 2, 0, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def place(postgres: Postgres, settings: Settings, keys: Keyring) -> Iterator[Place]:
    made = Place(postgres)
    assert settings
    with db.transaction(made.url) as session:
        signing.ensure(session, keyring=keys, now=db.now())
    yield made
    made.give_back()


@pytest.fixture
def here(place: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings that jobs and commands find, with the place's database."""
    monkeypatch.setenv("DATABASE_URL", place.url)
    config.current.cache_clear()
    yield replace(settings, database_url=place.url)
    monkeypatch.undo()
    config.current.cache_clear()


def due(place: Place, now: datetime) -> bool:
    with db.transaction(place.url) as session:
        return reconciliation.due(session, now=now)


def finish(place: Place, now: datetime, **wrong: Any) -> None:  # noqa: ANN401 - as it is kept
    with db.transaction(place.url) as session:
        session.execute(update(Reconciliation).values(finished_at=now, stepped_at=now, wrong=wrong))


def test_a_night_is_begun_at_two_and_once(place: Place) -> None:
    assert not due(place, NIGHT - timedelta(minutes=1))
    assert due(place, NIGHT)
    assert not due(place, NIGHT + timedelta(seconds=1)), "somebody is at it"
    assert due(place, NIGHT + timedelta(seconds=40)), "nobody goes on with it"
    finish(place, NIGHT + timedelta(minutes=1))
    assert not due(place, NIGHT + timedelta(hours=20))
    assert due(place, NIGHT + DAY)
    with db.transaction(place.url) as session:
        first, second = reversed(reconciliation.nights(session, most=5))
    assert second.since < first.until < second.until


def test_one_that_was_left_goes_on_where_it_was(place: Place) -> None:
    place.log(*(place.new() for _ in range(3)))
    place.grow()
    with db.transaction(place.url) as session:
        assert reconciliation.begin(session, now=db.now())
        assert reconciliation.begin(session, now=db.now()) is None
    seen = []
    while True:
        with db.sessions(place.url)() as session:
            # Whoever dies has done nothing of this step.
            reconciliation.step(session, now=db.now())
            session.rollback()
        with db.transaction(place.url) as session:
            went_on = reconciliation.step(session, now=db.now())
            seen.append(session.execute(text("SELECT phase FROM reconciliation")).scalar_one())
        if not went_on:
            break
    assert list(dict.fromkeys(seen)) == ["evidence", "consents", "log", "entries", "tiles", "whole"]
    with db.transaction(place.url) as session:
        night = reconciliation.newest(session, finished=True)
    assert night
    assert (night.counts["entries"], night.counts["rows"], night.counts["tiles"]) == (3, 3, 1)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM reconciliation", "TRUNCATE reconciliation", "DELETE FROM log_witness"]
)
def test_what_was_found_is_not_deleted(place: Place, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction(place.url) as session:
        session.execute(text(statement))


def test_two_never_do_the_same_step(place: Place) -> None:
    with db.transaction(place.url) as session:
        reconciliation.begin(session, now=db.now())
    with db.sessions(place.url)() as first, db.sessions(place.url)() as second:
        assert reconciliation.step(first, now=db.now())
        assert not reconciliation.step(second, now=db.now())
        first.rollback()
        second.rollback()


def test_without_a_log_every_row_is_missing(place: Place) -> None:
    place.log(place.new(channel="consent", outcome="completed", at=db.now() - timedelta(minutes=5)))
    night = reconciliation.run(place.url)
    assert set(night.wrong) == {"not-in-log"}


def test_a_row_that_no_growth_ever_sees_is_found(place: Place) -> None:
    place.log(place.new(channel="consent", outcome="completed", at=db.now() - timedelta(minutes=5)))
    place.grow()
    place.as_owner("""
        INSERT INTO disclosure SELECT (jsonb_populate_record(d, jsonb_build_object(
            'disclosure_id', gen_random_uuid(), 'written_by', 1))).* FROM disclosure d
    """)
    assert place.grow() == 1
    night = reconciliation.run(place.url)
    assert {what: each["count"] for what, each in night.wrong.items()} == {"not-in-log": 1}


def test_the_job_goes_through_all_of_it(here: Settings, place: Place) -> None:
    place.log(place.new(channel="consent", outcome="completed"))
    place.grow()
    assert due(place, db.now().replace(hour=3))
    for _ in range(20):
        jobs.reconcile_log()
    with db.transaction(here.database_url) as session:
        night = reconciliation.newest(session)
        assert night
        assert night.finished_at
    assert reconciliation.said(night) == []


def appoint(place: Place, keys: Keyring, email: str) -> None:
    with db.transaction(place.url) as session:
        made = identity.register(session, keyring=keys, email=email, now=db.now())
        identity.confirm(session, keyring=keys, person_id=made.person_id)
        operators.add(session, keyring=keys, email=email, now=db.now())


def test_every_operator_is_told_once(
    place: Place, keys: Keyring, settings: Settings, mailbox: Mailbox, mail_settings: Settings
) -> None:
    for name in ("ada", "bob"):
        appoint(place, keys, f"{name}@example.org")
    own = replace(mail_settings, database_url=place.url)
    assert due(place, NIGHT)
    finish(place, NIGHT, **{"not-in-log": {"count": 12, "some": ["a", "b"]}})
    assert due(place, NIGHT + timedelta(hours=5)), "somebody has to be told"
    for _ in range(3):
        reconciliation_letters.tell(own)
    assert sorted(mail["To"] for mail in mailbox.mails) == ["ada@example.org", "bob@example.org"]
    assert "Disclosures are not in the tree: 12 (a, b ...)" in mailbox.text()
    assert f"{settings.url}/ops/log" in mailbox.text()
    assert not due(place, NIGHT + timedelta(hours=5))


def test_who_cannot_be_reached_is_tried_again(
    place: Place, keys: Keyring, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    appoint(place, keys, "ada@example.org")
    assert due(place, NIGHT)
    finish(place, NIGHT, **{"root-differs": {"count": 1, "some": ["5"]}})
    reconciliation_letters.tell(replace(settings, database_url=place.url, smtp_url="smtp://127.0.0.1:9"))
    assert due(place, NIGHT + timedelta(hours=1))
    assert "the log does not say what happened" in caplog.text
    assert "ada@" not in caplog.text


@pytest.mark.parametrize(("broken", "status"), [(False, 0), (True, 1)])
def test_the_command_says_what_differs(
    *, here: Settings, place: Place, capsys: pytest.CaptureFixture[str], broken: bool, status: int
) -> None:
    assert here
    place.log(place.new(channel="consent", outcome="completed", at=db.now() - timedelta(minutes=5)))
    place.grow()
    if broken:
        place.as_owner("UPDATE disclosure SET asked = '[]'")
    assert run("reconcile-log") == status
    said = capsys.readouterr().out
    assert ("Entries of the tree are of rows that were changed: 1 (" in said) == broken
    assert ("Everything agrees." in said) == (not broken)


def found(settings: Settings, name: str) -> tuple[bool, str]:
    return next((each.well, each.text) for each in doctor.examine(settings) if each.name == name)


def test_the_doctor_says_how_the_last_night_was(here: Settings, place: Place) -> None:
    assert found(here, "night")[0], "nothing is logged yet"
    with db.transaction(place.url) as session:
        session.execute(text("SELECT open_ledger_month(now() - interval '2 days')"))
    place.log(place.new(channel="consent", outcome="completed", at=db.now() - 2 * DAY))
    place.grow()
    assert found(here, "night")[0], "the portal is younger than what it was given"
    with db.transaction(place.url) as session:
        session.execute(text("UPDATE signing_key SET signs_from = signs_from - interval '3 days'"))
    assert "for a day" in found(here, "night")[1]
    assert reconciliation.run(place.url)
    assert found(here, "night") == (True, found(here, "night")[1])
    finish(place, db.now(), **{"not-in-log": {"count": 1, "some": ["a"]}})
    assert not found(here, "night")[0]
    assert "not in the tree" in found(here, "night")[1]


def test_operators_see_every_night(here: Settings, place: Place, keys: Keyring) -> None:
    app = create_app(here)
    browser = Browser(app, here, keys, {"name.full": "Zenobia Quill"})
    assert browser.client.get("/ops/log").status_code == 404
    with db.transaction(place.url) as session:
        session.execute(text("INSERT INTO operator VALUES (:person_id, now())"), {"person_id": browser.person_id})
        session.execute(update(BrowserSession).values(level=2))
    assert "The first look is at 02:00 UTC." in browser.client.get("/ops/log").text
    assert due(place, NIGHT)
    finish(place, NIGHT, **{"looks-differ": {"count": 2, "some": ["g1", "g2"]}})
    page = browser.client.get("/ops/log").text
    assert "Consents were looked at more often, or less often, than the log says: 2 (g1, g2)" in page
    assert "/ops/log" in browser.client.get("/ops").text.partition("<h1")[2]


def test_two_who_look_at_once_come_to_the_same_end(place: Place) -> None:
    place.log(*(place.new(channel="consent", outcome="completed") for _ in range(50)))
    place.grow()
    with ThreadPoolExecutor(3) as pool:
        nights = list(pool.map(lambda _: reconciliation.run(place.url), range(3)))
    assert all(night.finished_at and not night.wrong for night in nights)
    assert {night.counts["entries"] for night in nights} == {50}


def test_the_reconciler_has_witnesses_asked_by_a_job(
    here: Settings, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = Others(lambda body: (200, "text/plain", cosigned(body)))
    name = f"witness ngo {NGO.verifier(WITNESS)} http://{others.address}"
    (tmp_path / "witnesses").write_text(name)
    monkeypatch.setenv("LOG_WITNESSES", str(tmp_path / "witnesses"))
    monkeypatch.setenv("EGRESS_ALLOW", others.address)
    config.current.cache_clear()
    place.log(place.new(channel="consent", outcome="completed"))
    place.grow()
    with db.transaction(place.url) as session:
        publisher.publish(session, signer=SIGNER, head=tmp_path / "head", now=db.now())
    queue.connection(here.redis_url).flushall()
    jobs.reconcile()
    worker_of(here.redis_url, queue.CALLS).work(burst=True, logging_level=None)
    with db.transaction(place.url) as session:
        log = published.newest(session)
        assert log
        assert witnessing.wrong(session, witnessing.read(tmp_path / "witnesses"), now=db.now()) == []
        assert witnessing.witnessed(session, log) == witnessing.cosigned(session, log)
    assert found(config.current(), "witnesses") == (True, "1 sign the log as well.")
    others.close()


def test_witnesses_whose_file_cannot_be_read_keep_nothing_else_from_being_done(
    here: Settings, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here
    monkeypatch.setenv("LOG_WITNESSES", str(tmp_path / "none"))
    config.current.cache_clear()
    monkeypatch.setattr(jobs, "_tidied", 0.0)
    place.log(place.new(channel="consent", outcome="completed", at=db.now() - timedelta(minutes=5)))
    with pytest.raises(witnessing.WitnessesUnreadableError):
        jobs.reconcile()
    with db.transaction(place.url) as session:
        tidied = session.execute(text("SELECT count(*) FROM reconciliation")).scalar_one()
    assert tidied == (db.now().hour >= 2)
    assert not found(config.current(), "witnesses")[0]
