"""Letters about requests and consents, and what takes longer than a page may.  Arguments are ids; no detail is one."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from portal import config, db, queue, tray
from portal.consent import approvals, deletion_news, letters, reminders, withdrawn
from portal.identity import queries as identity

_TURN_SECONDS: Final = 1.0


def tell_of_request(person_id: str, request_id: str) -> None:
    """Write to a person that a request waits; nothing happens when it is settled or somebody is gone."""
    settings = config.current()
    with db.transaction(settings.database_url) as session:
        asked = approvals.question(session, person_id=UUID(person_id), request_id=UUID(request_id), now=db.now())
        if asked is None or not asked.waiting:
            return
        email = identity.address_of(session, settings, person_id=UUID(person_id))
    if email:
        tray.send(settings, tray.letter(settings, to=email, template="request"))


def send_letters() -> None:
    """Send what people are to be told of their consents, or for as long as a job may run."""
    letters.TRAY.run()


def send_reminders() -> None:
    """Write to people what there is to look at of what they share."""
    reminders.TRAY.run()


def send_deletion_news() -> None:
    """Write to people what organisations say of details that they were asked to delete."""
    deletion_news.TRAY.run()


def end_withdrawn() -> None:
    """End what people share for purposes that are withdrawn for a second, and ring for the rest."""
    settings = config.current()
    queue.answer(settings.redis_url, withdrawn.RUN)
    if db.repeat(
        settings.database_url, lambda session: withdrawn.end_due(session, now=db.now()) > 0, seconds=_TURN_SECONDS
    ):
        queue.ring_once(settings.redis_url, queue.WORK, withdrawn.RUN)
