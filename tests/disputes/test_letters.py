"""Letters about questions: each once, only while it is true, and nothing of what was asked in any of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, update

from portal import db
from portal.companies import letters
from portal.companies.models import CompanyLetter
from portal.disputes import letters as dispute_letters
from portal.disputes import rules
from portal.disputes import services as disputes
from portal.disputes.models import Dispute
from portal.identity import services as identity
from portal.wiring import wire
from tests.disputes.asking import WORDS, Asker
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from portal.vault.keyring import Keyring

__all__ = ["mail_settings", "mailbox"]


@pytest.fixture
def asker(settings: Settings, keys: Keyring) -> Asker:
    """Somebody with an address to be written to; nobody else has anything to be told."""
    wire()
    with db.transaction(settings.database_url) as session:
        session.execute(delete(CompanyLetter))
        session.execute(update(Dispute).values(letter_at=None, look_at=None))
        made = identity.register(session, keyring=keys, email=f"{db.new_id().hex}@example.org", now=db.now())
    return Asker(settings, keys, made.person_id)


def bodies(mailbox: Mailbox, to: str) -> list[str]:
    found = []
    for mail in mailbox.mails:
        body = mail.get_payload(decode=True)
        assert isinstance(body, bytes)
        if to in mail["To"]:
            found.append(f"{mail['Subject']}\n{body.decode()}")
    return found


def send(settings: Settings) -> None:
    while letters.TRAY.empty(settings):
        continue
    while dispute_letters.TRAY.empty(settings):
        continue


def sweep(asker: Asker, days: int) -> None:
    asker.transact(lambda session: disputes.see_to(session, now=db.now() + timedelta(days=days)))


def test_the_company_is_written_to_now_before_it_is_due_and_when_it_is_overdue(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    row = asker.ask()
    send(mail_settings)
    for days in (8, 8, 11, 11):
        sweep(asker, days)
        send(mail_settings)
    first, second, third = bodies(mailbox, "privacy@brightwell.example")
    assert "does not recognise it and asks you why" in first
    assert "is still open" in second
    assert "is overdue" in third
    for body in (first, second, third):
        assert f"/org/questions/{row}" in body
        assert "Zirkonia" not in body
        assert "Ada" not in body


def test_an_answer_takes_back_what_was_not_sent_yet(asker: Asker, mail_settings: Settings, mailbox: Mailbox) -> None:
    row = asker.ask()
    asker.answer(row)
    send(mail_settings)
    assert bodies(mailbox, "privacy@brightwell.example") == []


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (rules.UNFOUNDED, "nothing to mend"),
        (rules.MEND, "have something to mend"),
        (rules.SUSPEND, "suspended your app"),
    ],
)
def test_the_company_is_told_what_was_decided(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox, decision: str, words: str
) -> None:
    row = asker.with_operator()
    send(mail_settings)
    asker.decide(row, decision, days=7 if decision == rules.MEND else None)
    send(mail_settings)
    found = bodies(mailbox, "privacy@brightwell.example")
    assert "is with the operator" in found[0]
    assert words in " ".join(found[1].split())
    assert len(found) == 2


def test_ten_letters_a_day_are_enough(asker: Asker, mail_settings: Settings, mailbox: Mailbox) -> None:
    for _ in range(12):
        asker.settle(asker.ask())
    waiting = asker.transact(lambda session: session.query(CompanyLetter).count())
    assert waiting == 10
    send(mail_settings)
    assert mailbox.mails == [], "all of them are settled"


def test_the_person_is_told_of_each_news_once_and_not_of_what(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    row = asker.ask()
    assert not asker.transact(dispute_letters.TRAY.pending)
    asker.answer(row)
    assert asker.transact(dispute_letters.TRAY.pending)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(send, [mail_settings] * 3))
    [body] = bodies(mailbox, "@example.org")
    assert "/activity/questions" in body
    for secret in (WORDS, asker.offer.name, str(row), "For your bill"):
        assert secret not in body
    asker.escalate(row)
    send(mail_settings)
    assert len(bodies(mailbox, "@example.org")) == 1, "nobody is told of what they did themselves"
    asker.decide(row, rules.UNFOUNDED)
    send(mail_settings)
    assert len(bodies(mailbox, "@example.org")) == 2


def test_a_letter_that_was_not_taken_is_sent_later(asker: Asker, mail_settings: Settings, mailbox: Mailbox) -> None:
    row = asker.ask()
    asker.answer(row)
    assert not dispute_letters.TRAY.empty(replace(mail_settings, smtp_url="smtp://127.0.0.1:9"))
    send(mail_settings)
    assert bodies(mailbox, "@example.org") == [], "it is put off for five minutes"
    let_time_pass(asker, row)
    send(mail_settings)
    assert len(bodies(mailbox, "@example.org")) == 1


def test_overdue_is_told_to_the_person_too(asker: Asker, mail_settings: Settings, mailbox: Mailbox) -> None:
    asker.ask()
    sweep(asker, 11)
    send(mail_settings)
    assert len(bodies(mailbox, "@example.org")) == 1


def let_time_pass(asker: Asker, row: UUID) -> None:
    past = update(Dispute).where(Dispute.disclosure_id == row).values(letter_at=db.now() - timedelta(minutes=6))
    asker.transact(lambda session: session.execute(past))
