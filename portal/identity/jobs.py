"""Mails about an account.  Arguments are ids; what to write is looked up and opened here."""

from __future__ import annotations

from uuid import UUID

from portal import config, db, mail
from portal.identity import queries
from portal.vault import keyring as keyrings


def send_code(person_id: str, code_id: str) -> None:
    """Mail a code; nothing happens for a code that is used, too old, or was never made."""
    _send_code("code", UUID(person_id), UUID(code_id))


def send_known_code(person_id: str, code_id: str) -> None:
    """Mail a code to somebody who has an account and asked to create one."""
    _send_code("known", UUID(person_id), UUID(code_id))


def send_password_notice(person_id: str) -> None:
    """Tell a person that their password was changed (OWASP ASVS 5.0, 6.3.7)."""
    settings = config.current()
    with db.transaction(settings.database_url) as session:
        email = queries.email_of(session, keyring=keyrings.load(settings.keyring_file), person_id=UUID(person_id))
    if email:
        _send("password_changed", email)


def _send_code(template: str, person_id: UUID, code_id: UUID) -> None:
    settings = config.current()
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        digits = queries.open_code(session, keyring=keyring, person_id=person_id, code_id=code_id, now=db.now())
        if digits is None:
            return
        email = queries.email_of(session, keyring=keyring, person_id=person_id)
        if not queries.is_confirmed(session, person_id=person_id):
            template = "joining"
    if email:
        _send(template, email, code=f"{digits[:3]} {digits[3:]}")


def _send(template: str, email: str, **values: str) -> None:
    settings = config.current()
    subject, body = mail.compose(template, service_name=settings.service_name, url=settings.url, **values)
    mail.send(settings, to=email, subject=subject, body=body)
