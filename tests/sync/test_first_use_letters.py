"""A letter to whoever's details reached an organisation for the first time: found by the reconciler, and sent once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from portal import db
from portal.identity import services as identity
from portal.ledger import first_uses, services
from portal.ledger.services import NewDisclosure
from portal.sync import first_use_letters, jobs
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from portal.vault.keyring import Keyring

__all__ = ["mail_settings", "mailbox"]


@pytest.fixture
def person(settings: Settings, keys: Keyring) -> tuple[UUID, str]:
    email = f"{uuid4().hex}@example.org"
    with db.transaction(settings.database_url) as session:
        made = identity.register(session, keyring=keys, email=email, now=db.now())
    return made.person_id, email


def log_use(settings: Settings, person_id: UUID, company: str) -> None:
    facts: dict[str, Any] = {
        "channel": "pull",
        "outcome": "completed",
        "asked": ["name.full"],
        "given": {"name.full": 1},
    }
    with db.transaction(settings.database_url) as session:
        services.open_months(session, now=db.now())
        words: dict[str, Any] = {"company_id": uuid4(), "client_id": "c", "company_name": company, "purpose": "p"}
        context_id = services.context(session, **words)
        services.record(session, NewDisclosure(person_id=person_id, at=db.now(), context_id=context_id, **facts))


def used(settings: Settings, person_id: UUID, company: str) -> None:
    log_use(settings, person_id, company)
    with db.transaction(settings.database_url) as session:
        first_uses.look(session)


def test_the_reconciler_finds_it(settings: Settings, person: tuple[UUID, str]) -> None:
    log_use(settings, person[0], "Gym")
    jobs.tidy(settings, now=db.now())
    with db.transaction(settings.database_url) as session:
        assert len(first_uses.of_person(session, person_id=person[0])) == 1


def send(settings: Settings) -> None:
    while first_use_letters.TRAY.empty(settings):
        pass


def of(mailbox: Mailbox, email: str) -> list[str]:
    """Return the letters to one address, each with its subject."""
    return [f"{one['Subject']}\n{one.get_payload()}" for one in mailbox.mails if one["To"] == email]


def test_one_letter_is_sent_about_what_is_new_and_names_nobody(
    mail_settings: Settings, person: tuple[UUID, str], mailbox: Mailbox
) -> None:
    person_id, email = person
    used(mail_settings, person_id, "Zylinder Gym")
    used(mail_settings, person_id, "Kumquat Bank")
    send(mail_settings)
    send(mail_settings)
    [letter] = of(mailbox, email)
    assert "got details of yours for the first time" in letter
    assert f"{mail_settings.url}/activity" in letter
    assert not any(word in letter for word in ("Zylinder", "Kumquat", "name", str(person_id)))
    used(mail_settings, person_id, "Third")
    send(mail_settings)
    assert len(of(mailbox, email)) == 2


@pytest.mark.parametrize(("answer", "waits"), [("550 no such mailbox", False), ("450 come back later", True)])
def test_a_refused_letter_is_tried_again_only_where_that_may_help(
    mail_settings: Settings, person: tuple[UUID, str], mailbox: Mailbox, answer: str, *, waits: bool
) -> None:
    async def refuse(*_: object) -> str:
        return answer

    mailbox.handle_RCPT = refuse  # type: ignore[attr-defined]
    used(mail_settings, person[0], "Gym")
    send(mail_settings)
    with db.transaction(mail_settings.database_url) as session:
        session.execute(text("UPDATE first_use SET leased_until = NULL"))
        assert (first_uses.take(session) == person[0]) == waits
