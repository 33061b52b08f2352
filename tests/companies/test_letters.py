"""What a company reads about its keys: each letter once, in plain words, and nobody's value in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select, update

from portal import db
from portal.companies import letters, services
from portal.companies.models import Company, CompanyLetter
from portal.identity import services as identity
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from portal.config import Settings
    from portal.vault.keyring import Keyring

    Make = Callable[..., dict[str, Any]]

__all__ = ["mail_settings", "mailbox"]
ABOUT = {
    "app": "Bills", "client_id": "live_1", "keys": "e2", "at": "23 November 2026, 10:00 UTC", "live": "live",
    "sentence": "send bills", "code": "bills", "version": "2", "words": "Thank you.",
}  # fmt: skip


@pytest.fixture
def company(settings: Settings, keys: Keyring, facts: Make) -> tuple[UUID, str]:
    """A checked company with one owner: its id and the owner's address."""
    email = f"{db.new_id().hex}@example.org"
    with db.transaction(settings.database_url) as session:
        owner = identity.register(session, keyring=keys, email=email, now=db.now()).person_id
        identity.confirm(session, keyring=keys, person_id=owner)
        contact = email.replace("@example.org", "@contact.example")
        made = services.register_company(session, **facts(owner=owner, contact_email=contact, verified=True))
        services.add_staff(session, company_id=made.company_id, person_id=db.new_id())
    return made.company_id, email


@pytest.fixture(autouse=True)
def no_others(settings: Settings) -> None:
    """Of a letter that another test left, nothing is sent here."""
    with db.transaction(settings.database_url) as session:
        session.execute(delete(CompanyLetter))


def write(settings: Settings, company_id: UUID, kind: str = letters.HELD) -> None:
    with db.transaction(settings.database_url) as session:
        letters.write(session, company_id=company_id, client_id="live_1", kind=kind, about=ABOUT, now=db.now())


def send_all(settings: Settings) -> None:
    while letters.TRAY.empty(settings):
        continue


def waiting(settings: Settings, company_id: UUID) -> int:
    with db.transaction(settings.database_url) as session:
        mine = select(CompanyLetter.letter_id).where(
            CompanyLetter.company_id == company_id, CompanyLetter.sent_at.is_(None)
        )
        return len(session.scalars(mine).all())


@pytest.mark.parametrize(
    ("kind", "words"),
    [(letters.ADDED, "Nothing is encrypted to it yet"), (letters.HELD, "From 23 November 2026, 10:00 UTC"),
     (letters.IN_USE, "is now encrypted to the key e2"), (letters.SIGNING_ADDED, "can act as this app"),
     (letters.PURPOSE_LIVE, "To send bills (bills, version 2) We have this to say about it: Thank you."),
     (letters.PURPOSE_SENT_BACK, "This is what there is to mend: Thank you.")],
)  # fmt: skip
def test_contact_and_owner_get_one_each(
    mail_settings: Settings, mailbox: Mailbox, company: tuple[UUID, str], kind: str, words: str
) -> None:
    company_id, owner = company
    write(mail_settings, company_id, kind)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(send_all, [mail_settings] * 3))
    mine = [mail for mail in mailbox.mails if owner.partition("@")[0] in mail["To"]]
    assert len(mine) == 2
    for mail in mine:
        body = mail.get_payload(decode=True)
        assert isinstance(body, bytes)
        text = " ".join(body.decode().split())
        assert words in text
        assert f"/org/apps/live_1/{'purposes/bills' if kind.startswith('purpose') else 'keys'}" in text
    assert waiting(mail_settings, company_id) == 0


def test_a_letter_that_was_not_taken_is_sent_later_and_once(
    mail_settings: Settings, mailbox: Mailbox, company: tuple[UUID, str]
) -> None:
    company_id, owner = company
    write(mail_settings, company_id)
    away = replace(mail_settings, smtp_url="smtp://127.0.0.1:9")
    assert letters.TRAY.empty(away) == 0
    assert waiting(mail_settings, company_id) == 2
    assert letters.TRAY.empty(mail_settings) == 1, "the one that was tried is put off for five minutes"
    with db.transaction(mail_settings.database_url) as session:
        mine = update(CompanyLetter).where(CompanyLetter.company_id == company_id)
        session.execute(mine.values(due_at=db.now() - timedelta(minutes=6)))
    send_all(mail_settings)
    send_all(mail_settings)
    assert sum(owner in mail["To"] for mail in mailbox.mails) == 1


@pytest.mark.parametrize(("answer", "left"), [("550 no such user", 1), ("450 try later", 2)])
def test_what_is_refused_for_good_is_not_tried_again(
    mail_settings: Settings,
    mailbox: Mailbox,
    company: tuple[UUID, str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: str,
    left: int,
) -> None:
    """RFC 5321 section 4.2.1."""
    company_id, _owner = company
    refusals = [answer, "450 try later"]

    async def refuse(*_about: object) -> str:
        return refusals.pop(0)

    monkeypatch.setattr(mailbox, "handle_RCPT", refuse, raising=False)
    write(mail_settings, company_id)
    assert letters.TRAY.empty(mail_settings) == 0
    assert waiting(mail_settings, company_id) == left


def test_the_contact_of_an_unchecked_company_may_be_a_stranger(settings: Settings, company: tuple[UUID, str]) -> None:
    company_id, _owner = company
    with db.transaction(settings.database_url) as session:
        session.execute(update(Company).where(Company.company_id == company_id).values(state="draft"))
    write(settings, company_id)
    assert waiting(settings, company_id) == 1
