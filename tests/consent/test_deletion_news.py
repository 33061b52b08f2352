"""Letters about what organisations say of what they were to delete: fifty answers are one, and it names nobody."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from portal import config, db, queue
from portal.consent import deletion_news, deletions, services
from portal.consent.deletions import Said
from portal.consent.models import DeletionNews
from portal.sync import jobs
from tests.consent.offers import Offer
from tests.consent.test_erasure import used
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser

__all__ = ["mail_settings", "mailbox"]
NAME, MAIL = "name.full", "email.main"
HELD: dict[str, Any] = {"deleted": False, "reason": "accounts", "until": date(2032, 12, 31)}


@pytest.fixture(autouse=True)
def _by_itself(settings: Settings) -> Iterator[None]:
    with db.transaction(settings.database_url) as session:
        session.execute(text("DELETE FROM deletion_news"))
    yield
    with db.transaction(settings.database_url) as session:
        session.execute(text("DELETE FROM deletion_news"))


def wish(settings: Settings, person_id: UUID) -> tuple[Grant, str]:
    """Share two details with a company of its own and ask for both to be deleted."""
    with db.transaction(settings.database_url) as session:
        offer = Offer(session)
        held = offer.give(session, person_id, attributes=[NAME, MAIL], now=db.now())
        used(session, held)
        mine: dict[str, Any] = {"person_id": person_id, "grant_id": held.grant_id, "now": db.now()}
        return services.withdraw(session, **mine, erase=True, shown={}), offer.name


def say(settings: Settings, held: Grant, *said: Said) -> None:
    with db.transaction(settings.database_url) as session:
        mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id, "now": db.now()}
        deletions.answer(session, **mine, said=said, channel="api")


def deleted(*names: str) -> list[Said]:
    return [Said(attribute=name, deleted=True) for name in names]


def pass_hours(settings: Settings, hours: int) -> None:
    earlier = timedelta(hours=hours)
    row = DeletionNews
    with db.transaction(settings.database_url) as session:
        session.execute(update(row).values(due_at=row.due_at - earlier, last_sent_at=row.last_sent_at - earlier))


def kept(settings: Settings) -> DeletionNews | None:
    with db.transaction(settings.database_url) as session:
        return session.scalars(select(DeletionNews)).one_or_none()


def test_what_many_say_within_an_hour_is_one_letter_and_names_nobody(
    mail_settings: Settings, browser: Browser, mailbox: Mailbox
) -> None:
    wishes = [wish(mail_settings, browser.person_id) for _ in range(25)]
    for held, _name in wishes[:24]:
        for each in deleted(NAME, MAIL):
            say(mail_settings, held, each)
    last, _name = wishes[24]
    say(mail_settings, last, *deleted(NAME), Said(attribute=MAIL, **HELD))
    assert deletion_news.TRAY.empty(mail_settings) == 0, "it waits for what is said within the hour"
    pass_hours(mail_settings, 1)
    assert deletion_news.TRAY.empty(mail_settings) == 1
    [letter] = mailbox.mails
    said = str(letter)
    assert letter["Subject"] == "50 answers about what you asked to be deleted"
    assert "49 details are deleted, they say" in said
    assert "1 detail they must keep for now, for a legal reason" in said
    for secret in (*(name for _held, name in wishes), "Full name", "Email address", "Zenobia", "accounts"):
        assert secret not in said
    assert deletion_news.TRAY.empty(mail_settings) == 0


def test_the_next_letter_says_what_is_new_a_day_later(
    mail_settings: Settings, browser: Browser, mailbox: Mailbox
) -> None:
    held, _name = wish(mail_settings, browser.person_id)
    say(mail_settings, held, Said(attribute=MAIL, **HELD))
    pass_hours(mail_settings, 1)
    deletion_news.TRAY.empty(mail_settings)
    say(mail_settings, held, *deleted(MAIL))
    pass_hours(mail_settings, 23)
    assert deletion_news.TRAY.empty(mail_settings) == 0
    pass_hours(mail_settings, 1)
    assert deletion_news.TRAY.empty(mail_settings) == 1
    assert [one["Subject"] for one in mailbox.mails] == ["An answer about what you asked to be deleted"] * 2
    assert "must keep" not in str(mailbox.mails[1])
    row = kept(mail_settings)
    assert row
    assert (row.deleted, row.held, row.due_at) == (0, 0, None)


def test_saying_it_again_is_no_news(settings: Settings, browser: Browser) -> None:
    held, _name = wish(settings, browser.person_id)
    for _ in range(3):
        say(settings, held, *deleted(NAME))
    row = kept(settings)
    assert row
    assert (row.deleted, row.held) == (1, 0)


def test_what_is_said_while_a_letter_is_on_its_way_is_the_next_ones(settings: Settings, browser: Browser) -> None:
    held, _name = wish(settings, browser.person_id)
    say(settings, held, *deleted(NAME))
    pass_hours(settings, 1)
    with db.transaction(settings.database_url) as session:
        taken = deletion_news.TRAY.take(session)
    assert taken
    say(settings, held, *deleted(MAIL))
    with db.transaction(settings.database_url) as session:
        deletion_news.TRAY.done(session, taken, True)  # noqa: FBT003 - as a tray says it
    row = kept(settings)
    assert row
    assert (row.deleted, row.held) == (1, 0)
    assert row.due_at
    assert row.due_at > db.now() + timedelta(hours=23)


def test_a_sender_that_died_sends_the_same_message_again(settings: Settings, browser: Browser) -> None:
    held, _name = wish(settings, browser.person_id)
    say(settings, held, *deleted(NAME))
    references = set()
    for _ in range(2):
        pass_hours(settings, 1)
        with db.transaction(settings.database_url) as session:
            taken = deletion_news.TRAY.take(session)
            assert taken
            letter = deletion_news.TRAY.word(session, settings, taken)
        assert letter
        references.add(letter.reference)
    assert len(references) == 1


def test_half_an_answer_is_no_news(settings: Settings, browser: Browser) -> None:
    held, _name = wish(settings, browser.person_id)
    with pytest.raises(deletions.NotToDeleteError):
        say(settings, held, *deleted(NAME, "birth.date"))
    assert kept(settings) is None


def test_the_reconciler_rings_for_what_is_due(
    mail_settings: Settings, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "current", lambda: mail_settings)
    valkey, bell = queue.connection(mail_settings.redis_url), queue.bell(deletion_news.TRAY.job)
    held, _name = wish(mail_settings, browser.person_id)
    say(mail_settings, held, *deleted(NAME))
    rung = []
    for hours in (0, 1):
        pass_hours(mail_settings, hours)
        jobs.tidy(mail_settings, now=db.now())
        rung.append(bool(valkey.exists(bell)))
    valkey.delete(bell)
    assert rung == [False, True]
