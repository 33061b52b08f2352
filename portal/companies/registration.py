"""Registering a client by a program: initial access tokens (RFC 7591 section 1.2), and the token of each client.

Both are 256 random bits behind a prefix that secret scanners know, and kept as SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import delete, exists, select, update

from portal.companies import queries, rules
from portal.companies.models import Client, Company, InitialAccessToken, Staff
from portal.companies.services import LIVE, TEST, NotVerifiedError
from portal.errors import InvalidError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, CursorResult
    from sqlalchemy.orm import Session

INITIAL_PREFIX: Final = "ucmit_"
CLIENT_PREFIX: Final = "ucmrg_"
MOST_USES: Final = 20
MOST_DAYS: Final = 7
LIVE_TOKENS: Final = 10
_KEPT_AFTER_EXPIRY: Final = timedelta(days=7)


class TokenTermsError(InvalidError):
    code = "invalid-token-terms"


class TooManyTokensError(RefusedError):
    code = "too-many-tokens"
    status = 409
    public = f"There are {LIVE_TOKENS} tokens that still work. End one of them first."


@dataclass(frozen=True, kw_only=True)
class TokenFacts:
    """An initial access token as staff see it; `token_id` is its SHA-256 in hexadecimal, of no use to sign in with."""

    token_id: str
    name: str
    environment: str
    created_at: datetime
    expires_at: datetime
    uses_left: int
    ended: bool
    works: bool


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What an initial access token lets its bearer register: clients of this company and environment."""

    company_id: UUID
    environment: str


def make_token(
    session: Session,
    *,
    company_id: UUID,
    made_by: UUID,
    name: str,
    environment: str,
    uses: int,
    days: int,
    now: datetime,
) -> str:
    """Return a new initial access token, which is nowhere to be read again.

    Raises `TokenTermsError`, `TooManyTokensError`, `NotVerifiedError`.
    """
    if not 1 <= uses <= MOST_USES:
        raise TokenTermsError(f"Enter a number from 1 to {MOST_USES}.", pointer="/uses")
    if not 1 <= days <= MOST_DAYS:
        raise TokenTermsError(f"Enter a number of days from 1 to {MOST_DAYS}.", pointer="/days")
    if environment not in {TEST, LIVE}:
        raise TokenTermsError("Choose the kind of app.", pointer="/environment")
    called = rules.line(name, what="a name for the token", longest=80, pointer="/name")
    _check_company(session, company_id, environment, now)
    token = INITIAL_PREFIX + secrets.token_urlsafe(32)
    row = InitialAccessToken(
        token_hash=hash_of(token), company_id=company_id, name=called, environment=environment, made_by=made_by,
        created_at=now, expires_at=now + timedelta(days=days), uses_left=uses,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return token


def tokens_of(session: Session, *, company_id: UUID, now: datetime) -> list[TokenFacts]:
    """Return a company's initial access tokens, the newest first."""
    mine = select(InitialAccessToken).where(InitialAccessToken.company_id == company_id)
    return [_facts(row, now) for row in session.scalars(mine.order_by(InitialAccessToken.created_at.desc()))]


def end_token(session: Session, *, company_id: UUID, token_id: str, now: datetime) -> str:
    """End an initial access token of this company and return its name; ending it twice changes nothing."""
    row = session.get(InitialAccessToken, _hash_in(token_id))
    if row is None or row.company_id != company_id:
        raise NotFoundError
    row.revoked_at = row.revoked_at or now
    session.flush()
    return row.name


def admitted(session: Session, token: str, *, now: datetime) -> Admission | None:
    """Return what a live initial access token is good for, without using it up."""
    row = session.execute(
        select(InitialAccessToken.company_id, InitialAccessToken.environment).where(*_works(token, now))
    ).one_or_none()
    return Admission(company_id=row.company_id, environment=row.environment) if row else None


def use_token(session: Session, token: str, *, now: datetime) -> bool:
    """Use an initial access token once, in one statement; false when somebody else had its last use."""
    once = update(InitialAccessToken).where(*_works(token, now))
    used = session.execute(
        once.values(uses_left=InitialAccessToken.uses_left - 1).execution_options(synchronize_session=False)
    )
    return bool(cast("CursorResult[Any]", used).rowcount)


def client_token() -> str:
    """Return a new registration access token (RFC 7592 section 1.2), to be kept by its hash."""
    return CLIENT_PREFIX + secrets.token_urlsafe(32)


def managed(session: Session, *, client_id: str, token: str) -> queries.ClientFacts | None:
    """Return the client that `token` manages; None for every other token and client, which look the same."""
    found = queries.client(session, client_id)
    kept = session.scalar(select(Client.registration_token_hash).where(Client.client_id == client_id)) if found else b""
    same = hmac.compare_digest(hash_of(token), kept or b"")
    return found if same and found is not None and found.active else None


def by_program(session: Session, *, client_id: str) -> bool:
    """Say whether somebody holds a token that manages the client."""
    kept = select(Client.registration_token_hash).where(Client.client_id == client_id)
    return session.scalar(kept) is not None


def end_client_token(session: Session, *, client_id: str) -> None:
    """End the token that manages a client, wherever it has got to: only its staff change it from then on."""
    session.execute(update(Client).where(Client.client_id == client_id).values(registration_token_hash=None))


def forget(session: Session, *, now: datetime) -> None:
    """Delete initial access tokens that ran out a week ago."""
    session.execute(delete(InitialAccessToken).where(InitialAccessToken.expires_at < now - _KEPT_AFTER_EXPIRY))


def hash_of(token: str) -> bytes:
    """Return what stands for a token in the database."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _check_company(session: Session, company_id: UUID, environment: str, now: datetime) -> None:
    # Held, so that two forms sent at once do not both find the last place.
    company = session.scalars(select(Company).where(Company.company_id == company_id).with_for_update()).one_or_none()
    if company is None:
        raise NotFoundError
    if environment == LIVE and company.state != queries.VERIFIED:
        raise NotVerifiedError
    if sum(token.works for token in tokens_of(session, company_id=company_id, now=now)) >= LIVE_TOKENS:
        raise TooManyTokensError


def _works(token: str, now: datetime) -> list[ColumnElement[bool]]:
    # Whoever made it must still act for the company, and the company must still be what the token is for.
    acting = exists().where(
        Staff.person_id == InitialAccessToken.made_by, Staff.company_id == InitialAccessToken.company_id
    )
    fit = exists().where(
        Company.company_id == InitialAccessToken.company_id,
        Company.state != queries.SUSPENDED,
        (InitialAccessToken.environment == TEST) | (Company.state == queries.VERIFIED),
    )
    return [
        InitialAccessToken.token_hash == hash_of(token),
        InitialAccessToken.uses_left > 0,
        InitialAccessToken.revoked_at.is_(None),
        InitialAccessToken.expires_at > now,
        acting,
        fit,
    ]


def _hash_in(token_id: str) -> bytes:
    try:
        return bytes.fromhex(token_id)
    except ValueError:
        raise NotFoundError from None


def _facts(row: InitialAccessToken, now: datetime) -> TokenFacts:
    return TokenFacts(
        token_id=row.token_hash.hex(), name=row.name, environment=row.environment, created_at=row.created_at,
        expires_at=row.expires_at, uses_left=row.uses_left, ended=row.revoked_at is not None,
        works=row.revoked_at is None and row.uses_left > 0 and row.expires_at > now,
    )  # fmt: skip
