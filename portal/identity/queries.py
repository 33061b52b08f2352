"""Who is behind an address, a token or an id; nothing here changes anything."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from portal.identity.models import BrowserSession, Operator, Password, Person, SignInCode, SignInIdentifier
from portal.vault import blind_index, persons
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

IDLE = timedelta(minutes=30)
EMAIL = "identity.email"
CODE = "identity.code"
SIGN_IN = "sign-in"
SECOND_PROOF = "second-proof"


def find_person(session: Session, *, keyring: Keyring, email: str) -> UUID | None:
    """Return whose confirmed sign-in address this is, by its blind index."""
    return session.scalar(
        select(SignInIdentifier.person_id).where(SignInIdentifier.index == blind_index.of_email(keyring, email))
    )


def email_of(session: Session, *, keyring: Keyring, person_id: UUID) -> str | None:
    """Return the address a person signs in with, opened; None for nobody."""
    person = session.get(Person, person_id)
    if person is None:
        return None
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    return vault.open(EMAIL, 1, person.sealed_email)


def address_of(session: Session, settings: Settings, *, person_id: UUID) -> str | None:
    """Return where a letter to a person goes: what `email_of` opens, for who has the settings and no keyring."""
    return email_of(session, keyring=keyrings.load(settings.keyring_file), person_id=person_id)


def is_confirmed(session: Session, *, person_id: UUID) -> bool:
    """Say whether the person has proved that the address is theirs."""
    return session.scalar(select(Person.state).where(Person.person_id == person_id)) == "active"


def is_operator(session: Session, *, person_id: UUID) -> bool:
    """Say whether this account looks after the portal, as things stand now."""
    return session.scalar(select(Operator.person_id).where(Operator.person_id == person_id)) is not None


def operators(session: Session) -> list[UUID]:
    """Return the accounts that look after the portal."""
    return list(session.scalars(select(Operator.person_id).order_by(Operator.person_id)))


def has_password(session: Session, *, person_id: UUID) -> bool:
    return session.get(Password, person_id) is not None


def settling_password(session: Session, *, person_id: UUID, now: datetime) -> datetime | None:
    """Return from when the person's password counts beside a code; None when it does now, or there is none."""
    row = session.get(Password, person_id)
    return row.second_proof_from if row and row.second_proof_from and row.second_proof_from > now else None


def open_code(session: Session, *, keyring: Keyring, person_id: UUID, code_id: UUID, now: datetime) -> str | None:
    """Return the digits to be mailed; None when the code is used, too old or never was."""
    row = session.get(SignInCode, (person_id, code_id))
    if row is None or row.used_at is not None or row.expires_at <= now:
        return None
    return persons.unlock(session, keyring=keyring, person_id=person_id).open(CODE, 1, row.sealed_code)


def hash_of(token: str) -> bytes:
    """Return what is stored of a 256-bit token: its SHA-256."""
    return hashlib.sha256(token.encode()).digest()


def session_of(session: Session, *, token: str, now: datetime) -> BrowserSession | None:
    """Return the live browser session of `token`: not ended, used in the last 30 minutes, younger than 12 hours."""
    return session.scalar(
        select(BrowserSession).where(BrowserSession.token_hash == hash_of(token), *_live(now)),
    )


def sessions_of(session: Session, *, person_id: UUID, now: datetime) -> Sequence[BrowserSession]:
    """Return where the person is signed in, the most recently used first."""
    mine = select(BrowserSession).where(BrowserSession.person_id == person_id, *_live(now))
    return session.scalars(mine.order_by(BrowserSession.seen_at.desc()).limit(50)).all()


def _live(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        BrowserSession.ended_at.is_(None),
        BrowserSession.expires_at > now,
        BrowserSession.seen_at > now - IDLE,
    )
