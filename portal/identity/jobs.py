"""Mails about an account.  Arguments are ids; what to write is looked up and opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from portal import config, db, tray
from portal.identity import codes, queries
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring


def send_code(person_id: str, code_id: str) -> None:
    """Make a code under this id and mail it; nothing happens for nobody, or for a code that is used or too old."""
    _send_letter(UUID(person_id), UUID(code_id), queries.SIGN_IN)


def send_second_proof_code(person_id: str, code_id: str) -> None:
    """Make a code that a signed-in person confirms with who they are, and mail it."""
    _send_letter(UUID(person_id), UUID(code_id), queries.SECOND_PROOF)


def _send_letter(person_id: UUID, code_id: UUID, purpose: str) -> None:
    settings = config.current()
    with db.transaction(settings.database_url) as session:
        letter = _letter(session, keyrings.load(settings.keyring_file), person_id, code_id, purpose)
    if letter:
        template, email, digits = letter
        _send(template, email, code=" ".join(digits[start : start + 3] for start in range(0, len(digits), 3)))


def _letter(
    session: Session, keyring: Keyring, person_id: UUID, code_id: UUID, purpose: str
) -> tuple[str, str, str] | None:
    now = db.now()
    codes.issue(session, keyring=keyring, person_id=person_id, code_id=code_id, now=now, purpose=purpose)
    digits = queries.open_code(session, keyring=keyring, person_id=person_id, code_id=code_id, now=now)
    email = queries.email_of(session, keyring=keyring, person_id=person_id)
    if digits is None or email is None:
        return None
    if purpose == queries.SECOND_PROOF:
        return "second_proof", email, digits
    if queries.is_confirmed(session, person_id=person_id):
        return "code", email, digits
    has_account = queries.find_person(session, keyring=keyring, email=email) is not None
    return ("known" if has_account else "joining"), email, digits


def send_password_notice(person_id: str) -> None:
    """Tell a person that their password was changed (OWASP ASVS 5.0, 6.3.7)."""
    settings = config.current()
    with db.transaction(settings.database_url) as session:
        email = queries.address_of(session, settings, person_id=UUID(person_id))
    if email:
        _send("password_changed", email)


def _send(template: str, email: str, **values: str) -> None:
    settings = config.current()
    tray.send(settings, tray.letter(settings, to=email, template=template, **values))
