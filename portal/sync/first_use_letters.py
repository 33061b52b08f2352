"""Letters to people whose details reached an organisation for the first time: at once, and about each one once.

Which organisation it is stands in the portal, and in no letter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from portal import db, mail
from portal.identity import queries as identity
from portal.ledger import first_uses
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings

log = logging.getLogger(__name__)

TELL: Final = "portal.sync.jobs.tell_of_first_uses"
_AT_ONCE: Final = 20


def send_some(settings: Settings) -> bool:
    """Send a few letters; False when none is left to send now, or the mail server is away."""
    with db.transaction(settings.database_url) as session:
        taken = first_uses.take(session, most=_AT_ONCE)
    try:
        for person_id in taken:
            _send(settings, person_id)
    except mail.MailNotSentError as error:
        log.warning("letters about first uses wait: %s", error.private)
        return False
    return bool(taken)


def _send(settings: Settings, person_id: UUID) -> None:
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        email = identity.email_of(session, keyring=keyring, person_id=person_id)
    try:
        if email is not None:
            subject, body = mail.compose("first_use", service_name=settings.service_name, url=settings.url)
            mail.send(settings, to=email, subject=subject, body=body)
    except mail.MessageRefusedError as error:
        log.warning("a letter about a first use was refused: %s", error.private)
        if not error.for_good:
            # It is tried again when its lease is over; the others wait for none of it.
            return
    with db.transaction(settings.database_url) as session:
        first_uses.told(session, person_id=person_id)
