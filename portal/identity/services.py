"""Becoming known, proving it, and staying signed in.

Nothing here says to a stranger whether an address has an account: unknown people cost the same password
hash, and a refusal is one answer for every reason.
"""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError
from sqlalchemy import case, delete, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from portal.db import new_id
from portal.errors import InvalidError
from portal.identity import levels, rules
from portal.identity.models import BrowserSession, Password, Person, SignInCode, SignInIdentifier
from portal.identity.queries import EMAIL, email_of, find_person, hash_of
from portal.vault import blind_index, persons

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

SESSION_LIFE = timedelta(hours=12)
LOCK = timedelta(minutes=15)
# How long a password that replaced another for a code alone is no proof beside a code.
SETTLING = timedelta(hours=24)
_FAILURES = 10
_TOUCH = timedelta(minutes=1)
_TOKEN_BYTES = 32
_BATCH = 500

# OWASP password storage: Argon2id with 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# Each hash takes 19 MiB and a core: more at once than this would let strangers fill the machine.
_AT_ONCE = BoundedSemaphore(2 * (os.cpu_count() or 1))


class WeakPasswordError(InvalidError):
    code = "weak-password"
    public = "Choose another password."


# --- Becoming known ---------------------------------------------------------------------------------------


def register(session: Session, *, keyring: Keyring, email: str, now: datetime) -> Person:
    """Make an account nobody can sign in to yet; `confirm` opens it once the address is proved."""
    person_id = new_id()
    vault = persons.create(session, keyring=keyring, person_id=person_id)
    person = Person(person_id=person_id, sealed_email=vault.seal(EMAIL, 1, email.strip()), created_at=now)
    session.add(person)
    session.flush()
    return person


def confirm(session: Session, *, keyring: Keyring, person_id: UUID) -> UUID:
    """Open the account to its address and return whose the address is.

    That is somebody else when the address was confirmed for another account meanwhile: whoever proved the
    address owns that account as well, so they are led to it.
    """
    person = session.get_one(Person, person_id)
    if person.state != "unconfirmed":
        return person_id
    email = email_of(session, keyring=keyring, person_id=person_id) or ""
    claim = insert(SignInIdentifier).values(index=blind_index.of_email(keyring, email), person_id=person_id)
    claimed = session.scalar(claim.on_conflict_do_nothing().returning(SignInIdentifier.person_id))
    if claimed is None:
        return find_person(session, keyring=keyring, email=email) or person_id
    person.state = "active"
    session.flush()
    return person_id


# --- Passwords --------------------------------------------------------------------------------------------


def set_password(
    session: Session,
    *,
    keyring: Keyring,
    person_id: UUID,
    password: str,
    now: datetime,
    words: Collection[str] = (),
    second_proof_from: datetime | None = None,
) -> None:
    """Set or replace the password; raise `WeakPasswordError` with a sentence that says how to mend it.

    `words` are further texts it must not be, such as the service's name; `second_proof_from` is what
    `settles_at` says of a password that replaces another.
    """
    email = email_of(session, keyring=keyring, person_id=person_id) or ""
    fault = rules.fault_of(password, common=_common(), words=[email, email.partition("@")[0], *words])
    if fault:
        raise WeakPasswordError(fault)
    values: dict[str, Any] = {"hash": _hash(password), "changed_at": now, "failures": 0, "locked_until": None}
    values["second_proof_from"] = second_proof_from
    row = insert(Password).values(person_id=person_id, **values)
    session.execute(row.on_conflict_do_update(index_elements=["person_id"], set_=values))


def check_password(session: Session, *, keyring: Keyring, email: str, password: str, now: datetime) -> UUID | None:
    """Return the person whose password this is, or None; the time taken is the same for every None.

    Ten wrong passwords in a row close this way in for 15 minutes; a code by e-mail stays open.  The row is
    locked while the hash is computed, so that guesses sent together are counted one by one.
    """
    known = find_person(session, keyring=keyring, email=email)
    person_id = known or new_id()  # nobody's id is looked up, and its failure counted, at the same cost
    row = session.get(Password, person_id, with_for_update=True, populate_existing=True)
    is_open = row is not None and not (row.locked_until and row.locked_until > now)
    if not (_matches(row.hash if row and is_open else _nobodys_hash(), password) and row and is_open):
        _count_failure(session, person_id, now)
        return None
    row.failures, row.locked_until = 0, None
    if _HASHER.check_needs_rehash(row.hash):
        row.hash = _hash(password)
    return known


def is_password_of(session: Session, *, person_id: UUID, password: str) -> bool:
    """Say whether it is this person's password, for whoever has shown a code of theirs; the edge counts the tries.

    It neither counts nor asks what strangers have tried at the door: they could keep the person from it.
    """
    row = session.get(Password, person_id)
    return row is not None and _matches(row.hash, password)


def hold_password(session: Session, *, person_id: UUID) -> bool:
    """Let nobody else change the person's password until the transaction ends; say whether there is one.

    Of two who choose a first password at once, one has chosen the first.
    """
    session.execute(select(Person.person_id).where(Person.person_id == person_id).with_for_update())
    return session.get(Password, person_id, populate_existing=True) is not None


def settles_at(session: Session, *, person_id: UUID, method: str, level: int, now: datetime) -> datetime | None:
    """Return from when a password chosen now would count beside a code; None for at once.

    `method` and `level` are those of the session it is chosen in.  A first password counts at once: whoever reads
    the mailbox had the account already.  One that replaces another without it waits, or a mailbox alone would be
    both proofs.  docs/decisions/0008-what-counts-as-a-second-proof.md
    """
    row = session.get(Password, person_id)
    if row is None or level >= levels.TWO_PROOFS:
        return None
    waits = now + SETTLING if method != "password" else None
    before = row.second_proof_from if row.second_proof_from and row.second_proof_from > now else None
    return max(filter(None, (waits, before)), default=None)


def _count_failure(session: Session, person_id: UUID, now: datetime) -> None:
    # Waiting for the disk would tell known from unknown; a crash may forget the failures of its last moment.
    session.execute(text("SET LOCAL synchronous_commit = off"))
    last = Password.failures + 1 >= _FAILURES
    counted = update(Password).where(
        Password.person_id == person_id, or_(Password.locked_until.is_(None), Password.locked_until <= now)
    )
    session.execute(
        counted.values(
            failures=case((last, 0), else_=Password.failures + 1),
            locked_until=case((last, now + LOCK), else_=Password.locked_until),
        )
    )


def _hash(password: str) -> str:
    with _AT_ONCE:
        return _HASHER.hash(rules.normal(password))


def _matches(known: str, password: str) -> bool:
    if len(password) > rules.LONGEST_PASSWORD:
        password = password[: rules.LONGEST_PASSWORD] + "\0"  # as wrong, and no dearer
    try:
        with _AT_ONCE:
            return _HASHER.verify(known, rules.normal(password))
    except VerificationError:
        return False


@cache
def _nobodys_hash() -> str:
    return _hash(secrets.token_urlsafe(_TOKEN_BYTES))


@cache
def _common() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "common_passwords.txt").read_text("utf-8").splitlines())


# --- What has had its day ----------------------------------------------------------------------------------


def forget_unproved(session: Session, *, now: datetime) -> None:
    """Delete a batch of what has had its day: unproved accounts with their keys, codes, ended sessions."""
    stale = (
        select(Person.person_id)
        .where(Person.state == "unconfirmed", Person.created_at < now - timedelta(days=1))
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    gone = session.scalars(stale).all()
    if gone:
        persons.shred(session, person_ids=gone)
        for table in (Password, SignInCode, BrowserSession, Person):
            session.execute(delete(table).where(table.person_id.in_(gone)))
    _forget_codes(session, now)
    _forget_sessions(session, now)


def _forget_codes(session: Session, now: datetime) -> None:
    # Kept for the day in which wrong tries are counted.
    key = tuple_(SignInCode.person_id, SignInCode.code_id)
    old = select(SignInCode.person_id, SignInCode.code_id).where(SignInCode.expires_at < now - timedelta(days=1))
    session.execute(delete(SignInCode).where(key.in_(old.limit(_BATCH).with_for_update(skip_locked=True))))


def _forget_sessions(session: Session, now: datetime) -> None:
    old = select(BrowserSession.token_hash).where(BrowserSession.expires_at < now)
    batch = old.limit(_BATCH).with_for_update(skip_locked=True)
    session.execute(delete(BrowserSession).where(BrowserSession.token_hash.in_(batch)))


# --- Staying signed in ------------------------------------------------------------------------------------


def open_session(
    session: Session,
    *,
    person_id: UUID,
    method: str,
    browser: str,
    now: datetime,
    replaces: bytes | None = None,
    level: int = levels.ONE_PROOF,
) -> str:
    """Sign a browser in and return its new token (256 bits); the session it `replaces` (a hash) ends."""
    if replaces is not None:
        end_session(session, person_id=None, token_hash=replaces, now=now)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session.add(
        BrowserSession(
            token_hash=hash_of(token),
            person_id=person_id,
            method=method,
            browser=browser,
            authenticated_at=now,
            level=level,
            seen_at=now,
            expires_at=now + SESSION_LIFE,
        )
    )
    session.flush()
    return token


def raise_session(session: Session, *, person_id: UUID, token_hash: bytes, now: datetime) -> str | None:
    """Note that both proofs were given and return the session's new token; None when it has ended meanwhile.

    The token changes with what it is worth, so that one planted before is worth nothing (OWASP ASVS 5.0, 7.2.4);
    the session ends when it would have ended.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    mine = update(BrowserSession).where(
        BrowserSession.token_hash == token_hash,
        BrowserSession.person_id == person_id,
        BrowserSession.ended_at.is_(None),
    )
    raised = mine.values(token_hash=hash_of(token), level=levels.TWO_PROOFS, authenticated_at=now, seen_at=now)
    raised = raised.execution_options(synchronize_session=False)
    return token if session.scalar(raised.returning(BrowserSession.token_hash)) else None


def touch(session: Session, *, row: BrowserSession, now: datetime) -> None:
    """Note that the session is in use, at most once a minute, without waiting for another request."""
    if now - row.seen_at < _TOUCH:
        return
    free = select(BrowserSession.token_hash).where(BrowserSession.token_hash == row.token_hash)
    session.execute(
        update(BrowserSession)
        .where(BrowserSession.token_hash.in_(free.with_for_update(skip_locked=True)))
        .values(seen_at=now)
        .execution_options(synchronize_session=False)
    )


def end_session(session: Session, *, person_id: UUID | None, token_hash: bytes, now: datetime) -> bool:
    """End one session; with a `person_id`, only if it is that person's.  False when there was none to end."""
    mine = update(BrowserSession).where(BrowserSession.token_hash == token_hash, BrowserSession.ended_at.is_(None))
    if person_id is not None:
        mine = mine.where(BrowserSession.person_id == person_id)
    return session.scalar(mine.values(ended_at=now).returning(BrowserSession.token_hash)) is not None


def end_other_sessions(session: Session, *, person_id: UUID, keep: bytes, now: datetime) -> None:
    """End every session of the person but the one whose hash is `keep`."""
    others = update(BrowserSession).where(
        BrowserSession.person_id == person_id, BrowserSession.token_hash != keep, BrowserSession.ended_at.is_(None)
    )
    session.execute(others.values(ended_at=now))
