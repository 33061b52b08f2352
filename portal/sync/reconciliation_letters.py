"""The letter to operators when the log does not say what happened."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from portal import db, mail, tray
from portal.companies.letters import moment
from portal.identity import queries as identity
from portal.sync import reconciliation

if TYPE_CHECKING:
    from datetime import datetime

    from portal.config import Settings

log = logging.getLogger(__name__)


class _Alarm(NamedTuple):
    """What is told of a night, and to whom."""

    began_at: datetime
    wrong: list[str]
    addresses: list[str]


def tell(settings: Settings) -> None:
    """Write to every operator about the last night that found something, until all of them have the letter once.

    Where nobody can be written to, the process's log says so alone.
    """
    with db.transaction(settings.database_url) as session:
        night = reconciliation.untold(session)
        if night is None:
            return
        found = [identity.address_of(session, settings, person_id=each) for each in identity.operators(session)]
        alarm = _Alarm(night.began_at, reconciliation.said(night), list(filter(None, found)))
    log.error("the log does not say what happened: %s", "; ".join(alarm.wrong))
    # The database is not held while a mail server takes its time.
    taken = [_send(settings, alarm, address) for address in alarm.addresses]
    if all(taken):
        with db.transaction(settings.database_url) as session:
            reconciliation.told(session, began_at=alarm.began_at, now=db.now())


def _send(settings: Settings, alarm: _Alarm, address: str) -> bool:
    # Sent again to all where one could not be reached: to a mail program it is the same letter.
    letter = tray.letter(
        settings, to=address, template="log_alarm", once=f"{alarm.began_at.isoformat()} {address}",
        began=moment(alarm.began_at), wrong=alarm.wrong,
    )  # fmt: skip
    try:
        tray.send(settings, letter)
    except mail.MailNotSentError as error:
        log.warning("an alarm was not taken: %s", error.private)
        return error.for_good
    return True
