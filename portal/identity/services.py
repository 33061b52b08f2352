"""Becoming known, proving it, and staying signed in.

Nothing here says to a stranger whether an address has an account: unknown people cost the same password
hash, and a refusal is one answer for every reason.
"""

from __future__ import annotations

import hmac
import os
import secrets
from datetime import timedelta
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError
from sqlalchemy import case, delete, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from portal.db import new_id
from portal.errors import InvalidError
from portal.identity import rules
from portal.identity.models import BrowserSession, Password, Person, SignInCode, SignInIdentifier
from portal.identity.queries import CODE, EMAIL, email_of, find_person, hash_of
from portal.vault import blind_index, persons

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

CODE_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(hours=12)
LOCK = timedelta(minutes=15)
_FAILURES = 10
_TRIES = 5
_CODES_AT_ONCE = 5
_WRONG_TRIES_A_DAY = 50
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
    session: Session, *, keyring: Keyring, person_id: UUID, password: str, now: datetime, words: Collection[str] = ()
) -> None:
    """Set or replace the password; raise `WeakPasswordError` with a sentence that says how to mend it.

    `words` are further texts it must not be, such as the service's name.
    """
    email = email_of(session, keyring=keyring, person_id=person_id) or ""
    fault = rules.fault_of(password, common=_common(), words=[email, email.partition("@")[0], *words])
    if fault:
        raise WeakPasswordError(fault)
    values = {"hash": _hash(password), "changed_at": now, "failures": 0, "locked_until": None}
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


# --- Codes by e-mail --------------------------------------------------------------------------------------


def issue_code(
    session: Session, *, keyring: Keyring, person_id: UUID, now: datetime, code_id: UUID | None = None
) -> UUID | None:
    """Make a six-digit code that lives 15 minutes and return its id; one that exists stays as it is.

    None for nobody, and when the person has five unused codes already or gave fifty wrong ones in a day:
    whoever asks is told the same as ever.
    """
    if code_id and session.get(SignInCode, (person_id, code_id)):
        return code_id
    if session.get(Person, person_id) is None or _is_flooded(session, person_id, now):
        return None
    digits = f"{secrets.randbelow(10**rules.CODE_DIGITS):0{rules.CODE_DIGITS}d}"
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    code = SignInCode(
        person_id=person_id,
        code_id=code_id or new_id(),
        sealed_code=vault.seal(CODE, 1, digits),
        expires_at=now + CODE_LIFE,
    )
    session.add(code)
    session.flush()
    return code.code_id


def _is_flooded(session: Session, person_id: UUID, now: datetime) -> bool:
    fresh = func.count().filter(SignInCode.expires_at > now, SignInCode.used_at.is_(None))
    wrong = func.coalesce(func.sum(SignInCode.tries).filter(SignInCode.used_at.is_(None)), 0)
    recent = select(fresh, wrong).where(
        SignInCode.person_id == person_id, SignInCode.expires_at > now - timedelta(days=1)
    )
    codes, tries = session.execute(recent).one()
    return codes >= _CODES_AT_ONCE or tries >= _WRONG_TRIES_A_DAY


def use_code(
    session: Session, *, keyring: Keyring, person_id: UUID, code_ids: Collection[UUID], code: str, now: datetime
) -> bool:
    """Say whether `code` (six digits) is one of the live `code_ids`, and use it up.

    Each look costs each of them one of its five tries.  The rows are locked in order, and the last statement
    asks again whether the code is unused: of two requests with the same code one wins.
    """
    live = (
        select(SignInCode)
        .where(
            SignInCode.person_id == person_id,
            SignInCode.code_id.in_(code_ids),
            SignInCode.used_at.is_(None),
            SignInCode.expires_at > now,
            SignInCode.tries < _TRIES,
        )
        .order_by(SignInCode.code_id)
    )
    rows = session.scalars(live.with_for_update(), execution_options={"populate_existing": True}).all()
    if not rows:
        return False
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    right = None
    for row in rows:
        row.tries += 1
        if hmac.compare_digest(vault.open(CODE, 1, row.sealed_code).encode(), code.encode()):
            right = row.code_id
    session.flush()
    return right is not None and _use_up(session, person_id, right, now)


def _use_up(session: Session, person_id: UUID, code_id: UUID, now: datetime) -> bool:
    once = update(SignInCode).where(
        SignInCode.person_id == person_id, SignInCode.code_id == code_id, SignInCode.used_at.is_(None)
    )
    return session.scalar(once.values(used_at=now).returning(SignInCode.code_id)) is not None


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
    session: Session, *, person_id: UUID, method: str, browser: str, now: datetime, replaces: bytes | None = None
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
            seen_at=now,
            expires_at=now + SESSION_LIFE,
        )
    )
    session.flush()
    return token


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
