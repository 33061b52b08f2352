"""Letters to operators: that something waits, and where; one at a time, and only while it does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select, text, update

from portal import db
from portal.disputes import operator_letters, rules
from portal.disputes import services as disputes
from portal.disputes.models import Dispute, OperatorLetter
from portal.identity import operators
from portal.identity import services as identity
from portal.identity.models import Operator
from portal.wiring import wire
from tests.disputes.asking import WORDS, Asker
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.vault.keyring import Keyring

__all__ = ["mail_settings", "mailbox"]


@pytest.fixture
def asker(settings: Settings, keys: Keyring) -> Asker:
    """Somebody who asks, where there are two operators and nobody is to be told anything."""
    wire()
    with db.transaction(settings.database_url) as session:
        session.execute(delete(Operator))
        session.execute(delete(OperatorLetter))
        session.execute(update(Dispute).values(state=rules.SETTLED, look_at=None, due_at=None, letter_at=None))
        for name in ("olu", "ora"):
            email = f"{name}-{db.new_id().hex}@operators.example"
            made = identity.register(session, keyring=keys, email=email, now=db.now())
            identity.confirm(session, keyring=keys, person_id=made.person_id)
            operators.add(session, keyring=keys, email=email, now=db.now())
    return Asker(settings, keys)


def sent(settings: Settings, mailbox: Mailbox) -> int:
    """Send what waits now; return how many letters to operators there have been so far."""
    while operator_letters.TRAY.empty(settings):
        continue
    return sum("@operators.example" in mail["To"] for mail in mailbox.mails)


def let_hours_pass(asker: Asker, hours: int) -> None:
    ago = timedelta(hours=hours)
    moved = update(OperatorLetter).values(told_at=OperatorLetter.told_at - ago, due_at=OperatorLetter.due_at - ago)
    asker.transact(lambda session: session.execute(moved))


def test_each_operator_has_one_that_says_nothing_of_anybody(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    row = asker.ask()
    asker.answer(row)
    assert sent(mail_settings, mailbox) == 0
    asker.escalate(row)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: sent(mail_settings, mailbox), range(3)))
    assert sent(mail_settings, mailbox) == 2
    assert len({mail["To"] for mail in mailbox.mails}) == 2
    for mail in mailbox.mails:
        body = mail.get_payload(decode=True)
        assert isinstance(body, bytes)
        said = f"{mail['Subject']} {body.decode()}"
        assert "/ops/questions\r\n" in said
        for secret in (WORDS, "Ada", asker.offer.name, str(row), str(asker.person_id)):
            assert secret not in said


@pytest.mark.parametrize("how", ["the person", "time", "a look of ours"])
def test_however_it_came_to_them(asker: Asker, mail_settings: Settings, mailbox: Mailbox, how: str) -> None:
    if how == "the person":
        asker.with_operator()
    elif how == "time":
        asker.ask()
        asker.transact(lambda session: disputes.see_to(session, now=db.now() + timedelta(days=11)))
    else:
        asker.ask(asker.row(channel="operator", asked=[], given={}))
    assert sent(mail_settings, mailbox) == 2


def test_not_more_than_a_few_a_day_and_none_is_forgotten(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    asker.with_operator()
    assert sent(mail_settings, mailbox) == 2
    for _ in range(5):
        asker.with_operator()
    assert sent(mail_settings, mailbox) == 2
    let_hours_pass(asker, 5)
    assert sent(mail_settings, mailbox) == 2
    let_hours_pass(asker, 1)
    assert sent(mail_settings, mailbox) == 4, "the five that came meanwhile are told in one"
    let_hours_pass(asker, 24)
    assert sent(mail_settings, mailbox) == 4, "what was told is not told again"


def test_what_is_decided_before_it_is_sent_is_news_no_longer(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    asker.decide(asker.with_operator(), rules.UNFOUNDED)
    assert sent(mail_settings, mailbox) == 0
    asker.with_operator()
    assert sent(mail_settings, mailbox) == 2, "what was never sent puts off nothing"


def test_what_comes_while_a_letter_leaves_is_told_with_the_next(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    asker.with_operator()
    taken = asker.transact(operator_letters.TRAY.take)
    asker.with_operator()
    asker.transact(lambda session: operator_letters.TRAY.done(session, taken, True))  # noqa: FBT003 - as a tray says it
    assert sent(mail_settings, mailbox) == 1, "the other operator's"
    let_hours_pass(asker, 6)
    assert sent(mail_settings, mailbox) == 2


def test_who_is_no_operator_any_more_is_not_written_to(asker: Asker, mail_settings: Settings, mailbox: Mailbox) -> None:
    asker.with_operator()
    asker.transact(lambda session: session.execute(delete(Operator)))
    assert sent(mail_settings, mailbox) == 0
    assert asker.transact(lambda session: session.scalars(select(OperatorLetter.due_at)).all()) == [None, None]


def test_a_letter_whose_sender_died_is_sent_when_its_lease_is_over(
    asker: Asker, mail_settings: Settings, mailbox: Mailbox
) -> None:
    asker.with_operator()
    assert asker.transact(operator_letters.TRAY.take) is not None
    assert sent(mail_settings, mailbox) == 1
    past = text("UPDATE operator_letter SET due_at = due_at - interval '6 minutes' WHERE due_at IS NOT NULL")
    asker.transact(lambda session: session.execute(past))
    assert sent(mail_settings, mailbox) == 2
