"""What a company reads when its endpoint does not take updates: once, in plain words, with the way to mend it."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select, update

from portal import db
from portal.companies import letters
from portal.companies.models import CompanyLetter
from portal.sync import endpoint_letters, health
from portal.sync.models import Delivery, Stream
from portal.sync.rules import judge
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Executable
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.sync.rules import Result
    from tests.sync.cast import Firm, World

__all__ = ["mail_settings", "mailbox"]
FAILS, GONE, REFUSES = (judge(status, milliseconds=1) for status in (503, 410, 422))


def note(world: World, firm: Firm, result: Result = FAILS) -> None:
    heard = health.Heard(world.endpoint(firm).stream_id, firm.receiver.url, result)
    world.transact(lambda session: health.note(session, [heard]))


def fail_for(world: World, firm: Firm, hours: float) -> None:
    note(world, firm)
    since = update(Stream).where(Stream.client_id == firm.client_id)
    earlier = since.values(failing_since=db.now() - timedelta(hours=hours))
    world.transact(lambda session: session.execute(earlier))
    note(world, firm)


def letter_of(world: World, firm: Firm) -> UUID:
    mine = select(CompanyLetter.letter_id).where(CompanyLetter.client_id == firm.client_id)
    newest = mine.order_by(CompanyLetter.written_at.desc()).limit(1)
    found: UUID = world.transact(lambda session: session.scalars(newest).one())
    return found


def kept(world: World, letter_id: UUID) -> CompanyLetter | None:
    found: CompanyLetter | None = world.transact(lambda session: session.get(CompanyLetter, letter_id))
    return found


@pytest.fixture(autouse=True)
def worded(world: World) -> None:
    """Letters have their words, as `wiring.py` gives them; of those that another test left none is sent here."""
    letters.word(endpoint_letters.KINDS, endpoint_letters.words)
    world.transact(lambda session: session.execute(delete(CompanyLetter)))


def _run(statement: Executable, session: Session) -> None:
    session.execute(statement)


def make_old(world: World, letter_id: UUID) -> None:
    mine = update(CompanyLetter).where(CompanyLetter.letter_id == letter_id)
    earlier = mine.values(due_at=db.now() - timedelta(minutes=6), written_at=db.now() - timedelta(hours=1))
    world.transact(partial(_run, earlier))


@pytest.mark.parametrize(
    ("hours", "words"), [(1.5, "After five days without a single success"), (97, "within a day from now")]
)
def test_a_warning_says_since_when_and_why_and_where_to_look(
    world: World, mail_settings: Settings, mailbox: Mailbox, hours: float, words: str
) -> None:
    firm = world.firm()
    fail_for(world, firm, hours)
    letters.TRAY.empty(mail_settings)
    (letter,) = mailbox.mails
    assert letter["To"] == "privacy@example.org"
    assert firm.name in letter["Subject"]
    body = " ".join(mailbox.text().split())
    for part in (words, "It answered 503.", f"/org/deliveries/endpoints/{firm.client_id}", "Nothing is lost"):
        assert part in body
    assert firm.receiver.url not in body
    assert re.search(r"no message since \d\d \w+ \d{4}, \d\d:\d\d UTC\.", body), "wherever it is read"


def test_that_it_is_off_and_that_messages_are_held_is_written_too(
    world: World, mail_settings: Settings, mailbox: Mailbox
) -> None:
    gone, refusing = world.firm(), world.firm()
    note(world, gone, GONE)
    letters.TRAY.empty(mail_settings)
    assert "answered 410" in mailbox.text()
    world.share(world.person(), refusing)
    note(world, refusing, REFUSES)
    held = update(Delivery).where(Delivery.client_id == refusing.client_id).values(held=True)
    world.transact(lambda session: session.execute(held))
    letters.TRAY.empty(mail_settings)
    assert "1 message is held back" in mailbox.text()
    assert len(mailbox.mails) == 2


def test_a_letter_is_sent_once_however_many_jobs_are_rung(
    world: World, mail_settings: Settings, mailbox: Mailbox
) -> None:
    firm = world.firm()
    note(world, firm, GONE)
    letter_id = letter_of(world, firm)
    threads = [threading.Thread(target=letters.TRAY.empty, args=(mail_settings,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    letters.TRAY.empty(mail_settings)
    assert len(mailbox.mails) == 1
    done = kept(world, letter_id)
    assert done
    assert done.sent_at


def test_a_letter_whose_mail_server_is_away_is_rung_for_again(
    world: World, mail_settings: Settings, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    firm = world.firm()
    note(world, firm, GONE)
    letter_id = letter_of(world, firm)
    assert letters.TRAY.empty(replace(mail_settings, smtp_url="smtp://127.0.0.1:9")) == 0
    assert not world.transact(letters.TRAY.pending)
    make_old(world, letter_id)
    assert world.transact(letters.TRAY.pending)
    letters.TRAY.empty(mail_settings)
    assert len(mailbox.mails) == 1
    assert not world.transact(letters.TRAY.pending)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("portal")]
    assert "privacy@example.org" not in " ".join(ours)


def test_a_job_that_died_after_sending_sends_the_same_message_again(
    world: World, mail_settings: Settings, mailbox: Mailbox
) -> None:
    """RFC 5322 section 3.6.4: one Message-ID, so that a mail program shows one."""
    firm = world.firm()
    note(world, firm, GONE)
    letter_id = letter_of(world, firm)
    for _ in range(2):
        letters.TRAY.empty(mail_settings)
        undone = update(CompanyLetter).where(CompanyLetter.letter_id == letter_id).values(sent_at=None)
        world.transact(partial(_run, undone))
        make_old(world, letter_id)
    assert len({letter["Message-ID"] for letter in mailbox.mails}) == 1
    assert len(mailbox.mails) == 2


def test_what_is_over_is_not_written_about(world: World, mail_settings: Settings, mailbox: Mailbox) -> None:
    firm = world.firm()
    fail_for(world, firm, 2)
    letter_id = letter_of(world, firm)
    note(world, firm, judge(202, milliseconds=1))
    letters.TRAY.empty(mail_settings)
    assert mailbox.mails == []
    assert kept(world, letter_id) is None


def test_a_letter_nobody_could_send_for_a_day_is_left(world: World) -> None:
    firm = world.firm()
    note(world, firm, GONE)
    letter_id = letter_of(world, firm)
    old = update(CompanyLetter).where(CompanyLetter.letter_id == letter_id)
    world.transact(partial(_run, old.values(written_at=db.now() - timedelta(hours=25))))
    assert not world.transact(letters.TRAY.pending)
