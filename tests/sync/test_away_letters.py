"""People are written to once when an organisation no longer takes their details, without a word of which or what."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from portal import config, db
from portal.identity import services as identity
from portal.sync import away_letters, jobs
from portal.sync.models import AwayLetter, Stream
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, World

__all__ = ["mail_settings", "mailbox"]
HOURS = timedelta(hours=2)


@pytest.fixture(autouse=True)
def _nobody_else_is_away(world: World) -> Iterator[None]:
    told = update(Stream).where(Stream.people_told_at.is_(None)).values(people_told_at=db.now())
    world.transact(lambda session: session.execute(told))
    yield
    world.transact(lambda session: session.execute(text("DELETE FROM away_letter")))


def person(world: World, keys: Keyring, *firms: Firm) -> UUID:
    """Somebody with an account and an address, who shares with `firms`."""

    def register(session: Any) -> UUID:  # noqa: ANN401 - a session
        made = identity.register(session, keyring=keys, email=f"{db.new_id().hex}@example.org", now=db.now())
        return made.person_id

    person_id: UUID = world.transact(register)
    world.save(person_id, name__full="Ada Byrne", email__main="ada@example.org")
    for firm in firms:
        world.share(person_id, firm)
    return person_id


def turn_off(world: World, firm: Firm, ago: timedelta = HOURS) -> None:
    world.set_stream(firm, state="disabled", disabled_at=db.now() - ago, people_told_at=None, people_told_after=None)


def work(world: World, settings: Settings) -> None:
    """What the job does, with a mail server."""
    while world.transact(away_letters.spread):
        pass
    while away_letters.TRAY.empty(settings):
        pass


def test_everybody_who_shares_is_written_to_once(
    world: World, keys: Keyring, mail_settings: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away_letters, "STEP", 2)
    firm, other = world.firm(), world.firm()
    for _ in range(5):
        person(world, keys, firm)
    person(world, keys, other)
    turn_off(world, firm)
    for _ in range(2):
        work(world, mail_settings)
    assert len(mailbox.mails) == 5
    assert len({letter["To"] for letter in mailbox.mails}) == 5
    body = mailbox.text()
    assert firm.name not in body + str(mailbox.mails[0]["Subject"])
    assert "/sharing" in body
    assert "Ada" not in body
    assert not world.transact(away_letters.TRAY.pending)


def test_several_organisations_make_one_letter(
    world: World, keys: Keyring, mail_settings: Settings, mailbox: Mailbox
) -> None:
    firm, other, later = world.firm(), world.firm(), world.firm()
    somebody = person(world, keys, firm, other, later)
    turn_off(world, firm, 3 * HOURS)
    turn_off(world, other, 2 * HOURS)
    work(world, mail_settings)
    assert len(mailbox.mails) == 1
    # What goes off later on the same day waits for the next.
    turn_off(world, later)
    work(world, mail_settings)
    assert len(mailbox.mails) == 1
    a_day = update(AwayLetter).where(AwayLetter.person_id == somebody)
    earlier = a_day.values(last_sent_at=db.now() - timedelta(hours=25))
    world.transact(lambda session: session.execute(earlier))
    work(world, mail_settings)
    assert len(mailbox.mails) == 2


@pytest.mark.parametrize("back", [True, False])
def test_who_is_back_before_the_hour_is_not_written_about(
    world: World, keys: Keyring, mail_settings: Settings, mailbox: Mailbox, *, back: bool
) -> None:
    firm = world.firm()
    person(world, keys, firm)
    turn_off(world, firm, HOURS if back else timedelta(minutes=30))
    if back:
        world.transact(away_letters.spread)
        world.set_stream(firm, state="enabled", disabled_at=None)
    work(world, mail_settings)
    assert mailbox.mails == []


def test_workers_at_once_write_once(world: World, keys: Keyring, mail_settings: Settings, mailbox: Mailbox) -> None:
    firm = world.firm()
    for _ in range(6):
        person(world, keys, firm)
    turn_off(world, firm)
    threads = [threading.Thread(target=work, args=(world, mail_settings)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(mailbox.mails) == len({letter["To"] for letter in mailbox.mails}) == 6


def test_a_job_that_died_leaves_its_letters_to_the_next(
    world: World, keys: Keyring, mail_settings: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm = world.firm()
    somebody = person(world, keys, firm)
    turn_off(world, firm)
    world.transact(away_letters.spread)
    leased = update(AwayLetter).where(AwayLetter.person_id == somebody)
    held = leased.values(leased_until=db.now() + timedelta(minutes=5))
    world.transact(lambda session: session.execute(held))
    work(world, mail_settings)
    assert mailbox.mails == []
    over = leased.values(leased_until=db.now() - timedelta(seconds=1))
    world.transact(lambda session: session.execute(over))
    assert world.transact(away_letters.TRAY.pending)
    monkeypatch.setattr(config, "current", lambda: mail_settings)
    jobs.tell_people()
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize(("answer", "left"), [("550 no such user", False), ("450 try later", True)])
def test_an_address_that_is_refused_keeps_nobody_else_waiting(
    world: World,
    keys: Keyring,
    mail_settings: Settings,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: str,
    left: bool,
) -> None:
    """RFC 5321 section 4.2.1: what begins with 5 is not to be tried again."""
    firm = world.firm()
    people = [person(world, keys, firm) for _ in range(3)]
    turn_off(world, firm)
    refusals = [answer]

    async def take(_server: object, _session: object, envelope: Any, to: str, _options: object) -> str:  # noqa: ANN401 - untyped
        if refusals:
            return refusals.pop()
        envelope.rcpt_tos.append(to)
        return "250 OK"

    monkeypatch.setattr(mailbox, "handle_RCPT", take, raising=False)
    work(world, mail_settings)
    assert len(mailbox.mails) == 2
    unsent = select(AwayLetter.person_id).where(AwayLetter.person_id.in_(people), AwayLetter.sent_at.is_(None))
    assert bool(world.transact(lambda session: session.scalars(unsent).all())) is left
