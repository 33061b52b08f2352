"""What workers do for companies: a job that is lost or repeated changes nothing."""

from __future__ import annotations

import logging

from portal import config, db, mail, queue
from portal.companies import key_source, letters
from portal.vault import keyring as keyrings

log = logging.getLogger(__name__)


def fetch_keys(client_id: str) -> None:
    """Read the keys at a client's `jwks_uri` anew, if they are stale still: the bell rings until somebody comes."""
    key_source.refresh(client_id=client_id, now=db.now(), within=key_source.STALE)


def send_letters() -> None:
    """Send the letters to companies that are due; one that is not taken is tried again after a few minutes."""
    settings = config.current()
    queue.answer(settings.redis_url, letters.SEND)
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        taken = letters.take(session, keyring=keyring)
    for letter in taken:
        try:
            _send(letter)
        except mail.MailNotSentError as error:
            log.warning("a letter to a company was not taken: %s", error.private)
        else:
            with db.transaction(settings.database_url) as session:
                letters.sent(session, letter)


def _send(letter: letters.Letter) -> None:
    settings = config.current()
    if letter.address:
        subject, body = mail.compose(
            letter.template, service_name=settings.service_name, url=settings.url, **letter.about
        )
        mail.send(settings, to=letter.address, subject=subject, body=body, reference=letter.letter_id.hex)
