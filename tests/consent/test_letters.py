"""A person is written to about what they agreed to, changed and stopped: in words, with a link, and with no detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select, update

from portal import db
from portal.consent import letters, renewing, services
from portal.consent.models import ConsentLetter
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant
    from tests.consent.browser import Browser
    from tests.consent.offers import Offer

__all__ = ["mail_settings", "mailbox"]
VALUES = ("Zenobia", "zenobia@example.org")


@pytest.fixture(autouse=True)
def _nothing_waits(settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(delete(ConsentLetter))


def act(settings: Settings, work: Callable[[Session], Grant]) -> Grant:
    with db.transaction(settings.database_url) as session:
        return work(session)


def again(settings: Settings) -> None:
    """Let time pass, or forget that it was sent."""
    with db.transaction(settings.database_url) as session:
        session.execute(update(ConsentLetter).values(due_at=db.now(), sent_at=None))


def test_each_step_that_counts_has_its_letter(
    mail_settings: Settings, lasting: Offer, browser: Browser, mailbox: Mailbox
) -> None:
    both = ["name.full", "email.main"]
    held = act(mail_settings, lambda session: lasting.give(session, browser.person_id, attributes=both))
    mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id}
    act(mail_settings, lambda session: services.pause(session, **mine, now=db.now()))
    act(mail_settings, lambda session: services.resume(session, **mine, now=db.now()))
    less: dict[str, Any] = {"attributes": ["name.full"], "mode": "asked", "days": 90, "level": 1, "shown": {}}
    act(mail_settings, lambda session: services.change(session, **mine, **less, now=db.now()))
    act(mail_settings, lambda session: renewing.renew(session, **mine, level=1, shown={}, now=db.now()))
    act(mail_settings, lambda session: services.withdraw(session, **mine, now=db.now()))
    assert letters.TRAY.empty(mail_settings) == 4
    assert letters.TRAY.empty(mail_settings) == 0
    name = lasting.name
    assert [letter["Subject"] for letter in mailbox.mails] == [
        f"You share with {name}", f"You changed what {name} gets", f"You go on sharing with {name}",
        f"You stopped sharing with {name}",
    ]  # fmt: skip
    first = mailbox.mails[0].get_payload(decode=True)
    assert isinstance(first, bytes)
    for said in (
        f"{mail_settings.url}/sharing/{held.grant_id}", "Details: Full name, Email address.",
        "so they can send bills to the right address", "privacy@brightwell.example",
    ):  # fmt: skip
        assert said in first.decode()
    assert not any(value in str(letter) for letter in mailbox.mails for value in VALUES)


def test_what_is_not_taken_is_tried_again_under_the_same_name(
    mail_settings: Settings, lasting: Offer, browser: Browser, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(mail_settings, lambda session: lasting.give(session, browser.person_id))
    monkeypatch.setattr(mailbox, "handle_RCPT", _answers("450 try later"), raising=False)
    assert letters.TRAY.empty(mail_settings) == 0
    monkeypatch.undo()
    for _ in range(2):
        again(mail_settings)
        assert letters.TRAY.empty(mail_settings) == 1
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert str(browser.person_id) not in str(first)


def test_what_will_never_be_taken_is_dropped(
    mail_settings: Settings, lasting: Offer, browser: Browser, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(mail_settings, lambda session: lasting.give(session, browser.person_id))
    monkeypatch.setattr(mailbox, "handle_RCPT", _answers("550 nobody here"), raising=False)
    assert letters.TRAY.empty(mail_settings) == 0
    with db.transaction(mail_settings.database_url) as session:
        assert session.scalars(select(ConsentLetter)).all() == []


def test_a_no_and_a_not_now_make_no_letter(settings: Settings, lasting: Offer, browser: Browser) -> None:
    said: dict[str, Any] = {"client_id": lasting.client_id, "purpose_id": lasting.purpose_id, "shown": {}}
    said |= {"person_id": browser.person_id, "now": db.now()}
    act(settings, lambda session: services.refuse(session, services.Reply(**said)))
    act(settings, lambda session: services.defer(session, services.Reply(**said)))
    with db.transaction(settings.database_url) as session:
        assert session.scalars(select(ConsentLetter)).all() == []
        assert not letters.TRAY.pending(session)


def _answers(words: str) -> Callable[..., Any]:
    async def refuse(*_about: object) -> str:
        return words

    return refuse
