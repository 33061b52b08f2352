"""Codes sent by e-mail: made by the mail job, tried a few times, used once, each for one purpose."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from portal.db import new_id
from portal.identity import rules
from portal.identity.models import Person, SignInCode
from portal.identity.queries import CODE, SIGN_IN
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

CODE_LIFE = timedelta(minutes=15)
_TRIES = 5
_CODES_AT_ONCE = 15
_WRONG_TRIES_A_DAY = 25


def issue(
    session: Session,
    *,
    keyring: Keyring,
    person_id: UUID,
    now: datetime,
    code_id: UUID | None = None,
    purpose: str = SIGN_IN,
) -> UUID | None:
    """Make a code for `purpose` that lives 15 minutes and return its id; one that exists stays as it is.

    None for nobody, and when the person has fifteen unused codes already: whoever asks is told the same as ever.
    After 25 wrong ones in a day a code has twelve digits in place of six: a stranger who guesses gets nowhere,
    and keeps nobody out.
    """
    if code_id and session.get(SignInCode, (person_id, code_id)):
        return code_id
    if session.get(Person, person_id) is None:
        return None
    waiting, wrong = _recent_codes(session, person_id, purpose, now)
    if waiting >= _CODES_AT_ONCE:
        return None
    length = rules.LONG_CODE_DIGITS if wrong >= _WRONG_TRIES_A_DAY else rules.CODE_DIGITS
    vault = persons.unlock(session, keyring=keyring, person_id=person_id)
    code = SignInCode(
        person_id=person_id,
        code_id=code_id or new_id(),
        purpose=purpose,
        sealed_code=vault.seal(CODE, 1, f"{secrets.randbelow(10**length):0{length}d}"),
        expires_at=now + CODE_LIFE,
    )
    session.add(code)
    session.flush()
    return code.code_id


def _recent_codes(session: Session, person_id: UUID, purpose: str, now: datetime) -> tuple[int, int]:
    # How many codes wait to be used, and how many wrong ones were given in a day.
    fresh = func.count().filter(SignInCode.expires_at > now, SignInCode.used_at.is_(None))
    wrong = func.coalesce(func.sum(SignInCode.tries).filter(SignInCode.used_at.is_(None)), 0)
    recent = select(fresh, wrong).where(
        SignInCode.person_id == person_id,
        SignInCode.purpose == purpose,
        SignInCode.expires_at > now - timedelta(days=1),
    )
    codes, tries = session.execute(recent).one()
    return codes, tries


def use(
    session: Session,
    *,
    keyring: Keyring,
    person_id: UUID,
    code_ids: Collection[UUID],
    code: str,
    now: datetime,
    purpose: str = SIGN_IN,
) -> bool:
    """Say whether `code` (its digits) is one of the live `code_ids` for `purpose`, and use it up.

    Each look costs each of them one of its five tries.  The rows are locked in order, and the last statement
    asks again whether the code is unused: of two requests with the same code one wins.
    """
    live = (
        select(SignInCode)
        .where(
            SignInCode.person_id == person_id,
            SignInCode.code_id.in_(code_ids),
            SignInCode.purpose == purpose,
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
