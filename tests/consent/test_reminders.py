"""Reminders: one letter a person for all there is, nothing of theirs in it, once; and a pause after a year unused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update

from portal import db, events
from portal.consent import chain, queries, reminders, services
from portal.consent.models import ConsentWatch, ReminderLetter
from portal.identity import services as identity
from portal.ledger import services as ledger
from portal.sync import jobs
from tests.consent.offers import Offer
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from portal.config import Settings
    from portal.consent.models import Grant
    from portal.vault.keyring import Keyring

__all__ = ["mail_settings", "mailbox"]
DAY = timedelta(days=1)


pytestmark = pytest.mark.usefixtures("old_months")


@pytest.fixture(autouse=True)
def _by_itself(settings: Settings) -> Iterator[None]:
    """Only what this test gives is looked at."""
    events.listen(events.GrantChanged, reminders.on_grant_changed)
    with db.transaction(settings.database_url) as session:
        session.execute(text("DELETE FROM consent_watch"))
        session.execute(text("DELETE FROM reminder_letter"))
    yield
    with db.transaction(settings.database_url) as session:
        session.execute(text("DELETE FROM consent_watch"))


@pytest.fixture
def somebody(settings: Settings, keys: Keyring) -> UUID:
    with db.transaction(settings.database_url) as session:
        made = identity.register(session, keyring=keys, email=f"{uuid4().hex}@example.org", now=db.now())
    return made.person_id


def give(settings: Settings, person_id: UUID, ago: timedelta, **terms: Any) -> Grant:  # noqa: ANN401 - of `give`
    with db.transaction(settings.database_url) as session:
        return Offer(session, longest_days=365).give(session, person_id, now=db.now() - ago, **terms)


def look(settings: Settings, now: datetime | None = None) -> int:
    with db.transaction(settings.database_url) as session:
        return reminders.look(session, now=now or db.now())


def post(settings: Settings) -> None:
    while reminders.TRAY.empty(settings):
        pass


def a_day_later(settings: Settings) -> None:
    earlier = update(ReminderLetter).values(last_sent_at=ReminderLetter.last_sent_at - timedelta(hours=25))
    with db.transaction(settings.database_url) as session:
        session.execute(earlier)


def due_now(settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(update(ConsentWatch).values(due_at=db.now()))


def noted(settings: Settings, grant: Grant) -> str | None:
    with db.transaction(settings.database_url) as session:
        return session.scalar(select(ConsentWatch.noted).where(ConsentWatch.grant_id == grant.grant_id))


def test_one_letter_says_all_of_it_once(
    settings: Settings, somebody: UUID, mail_settings: Settings, mailbox: Mailbox
) -> None:
    give(settings, somebody, 51 * DAY, days=100)
    give(settings, somebody, 49 * DAY, days=100)  # due tomorrow: it comes along
    give(settings, somebody, 96 * DAY, days=100)
    other = give(settings, somebody, 1 * DAY, days=100)
    assert look(settings) == 3
    post(mail_settings)
    assert len(mailbox.mails) == 1
    body = mailbox.text()
    assert "2 have half of their time behind them" in body
    assert "1 ends very soon" in body
    assert "/sharing/check" in body
    assert "Brightwell" not in body + str(mailbox.mails[0]["Subject"])
    assert str(other.grant_id) not in body
    for _ in range(3):
        due_now(settings)
        look(settings)
        a_day_later(settings)
        post(mail_settings)
    assert len(mailbox.mails) == 1, "what was said is not said again"


def test_a_day_lies_between_two_letters(
    settings: Settings, somebody: UUID, mail_settings: Settings, mailbox: Mailbox
) -> None:
    give(settings, somebody, 51 * DAY, days=100)
    look(settings)
    post(mail_settings)
    give(settings, somebody, 81 * DAY, days=100)
    look(settings)
    post(mail_settings)
    assert len(mailbox.mails) == 1
    a_day_later(settings)
    post(mail_settings)
    assert len(mailbox.mails) == 2
    assert "four fifths" in mailbox.text()


def test_what_ended_meanwhile_is_not_written_about(
    settings: Settings, somebody: UUID, mail_settings: Settings, mailbox: Mailbox
) -> None:
    grant = give(settings, somebody, 51 * DAY, days=100)
    look(settings)
    with db.transaction(settings.database_url) as session:
        services.withdraw(session, person_id=somebody, grant_id=grant.grant_id, now=db.now())
    post(mail_settings)
    assert not mailbox.mails
    with db.transaction(settings.database_url) as session:
        assert not reminders.TRAY.pending(session)


def test_unused_for_a_year_is_paused_between_two_letters(
    settings: Settings, somebody: UUID, mail_settings: Settings, mailbox: Mailbox
) -> None:
    grant = give(settings, somebody, 400 * DAY)
    look(settings)
    assert noted(settings, grant) == "unused"
    post(mail_settings)
    assert "We pause it in 30 days" in mailbox.text()
    due_now(settings)
    look(settings)
    assert state(settings, grant) == ("active", "given"), "a month lies between the letter and the pause"
    with db.transaction(settings.database_url) as session:
        session.execute(update(ConsentWatch).values(warned_at=db.now() - 31 * DAY, due_at=db.now()))
    look(settings)
    assert state(settings, grant) == ("paused", "unused")
    a_day_later(settings)
    post(mail_settings)
    assert "so we have paused it" in mailbox.text()
    with db.transaction(settings.database_url) as session:
        services.resume(session, person_id=somebody, grant_id=grant.grant_id, now=db.now())
    due_now(settings)
    look(settings)
    assert state(settings, grant) == ("active", "resumed"), "who resumes it has another year"


def test_nobody_is_paused_whom_no_letter_reached(settings: Settings, somebody: UUID) -> None:
    grant = give(settings, somebody, 500 * DAY)
    for _ in range(3):
        due_now(settings)
        look(settings)
    assert state(settings, grant)[0] == "active"


def test_what_is_used_goes_on_and_is_asked_about_once_a_year(
    settings: Settings, somebody: UUID, mail_settings: Settings, mailbox: Mailbox
) -> None:
    grant = give(settings, somebody, 366 * DAY)
    with db.transaction(settings.database_url) as session:
        row = ledger.NewDisclosure(
            person_id=somebody, at=db.now() - DAY, context_id=grant.context_id, channel="pull", outcome="completed",
            asked=["name.full"], given={"name.full": 1}, grant_id=grant.grant_id, grant_version=grant.version,
        )  # fmt: skip
        ledger.record(session, row)
    look(settings)
    post(mail_settings)
    assert "is it still right?" in mailbox.text()
    due_now(settings)
    look(settings, db.now() + 300 * DAY)
    assert noted(settings, grant) is None


def test_a_step_that_is_under_way_is_not_waited_for(settings: Settings, somebody: UUID) -> None:
    """Whoever pauses at this moment holds the consent: the sweep goes on without it, and finds it the next time."""
    held_up = give(settings, somebody, 51 * DAY, days=100)
    with db.transaction(settings.database_url) as session:
        queries.hold(session, person_id=somebody, grant_id=held_up.grant_id)
        look(settings)
        assert noted(settings, held_up) is None
    look(settings)
    assert noted(settings, held_up) == "half"


def test_the_reconciler_looks(settings: Settings, somebody: UUID) -> None:
    grant = give(settings, somebody, 51 * DAY, days=100)
    jobs.tidy(settings, now=db.now())
    assert noted(settings, grant) == "half"


def test_a_sweep_of_a_million_reads_what_is_due(settings: Settings) -> None:
    """The plan, on as many rows as show it: the due ones by their index, and the others never."""
    with db.transaction(settings.database_url) as session:
        session.execute(
            text("""
            INSERT INTO consent_watch (person_id, grant_id, due_at)
            SELECT gen_random_uuid(), gen_random_uuid(), now() + interval '1 day' + make_interval(secs => n)
              FROM generate_series(1, 20000) n
        """)
        )
        session.execute(text("ANALYZE consent_watch"))
        values = {"now": db.now(), "soon": db.now(), "limit": 500}
        plan = "\n".join(session.scalars(text(f"EXPLAIN (ANALYZE, BUFFERS) {reminders.DUE}"), values))
        session.rollback()
    assert "consent_watch_due_at_idx" in plan
    assert "Seq Scan on consent_watch" not in plan


def state(settings: Settings, grant: Grant) -> tuple[str, str]:
    with db.transaction(settings.database_url) as session:
        versions = queries.versions(session, person_id=grant.person_id, grant_id=grant.grant_id)
        assert chain.intact(versions)
        return versions[-1].state, versions[-1].step
