"""Access and refresh tokens: opaque, 256 random bits behind a prefix that secret scanners know, kept as SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy import select, update

from portal.oauth.models import AccessToken, RefreshToken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts

ACCESS_PREFIX: Final = "ucmat_"
REFRESH_PREFIX: Final = "ucmrt_"
ACCESS_LIFE: Final = timedelta(minutes=10)
REFRESH_LIFE: Final = timedelta(days=365)


class Origin(Protocol):
    """What a person's token comes from: a code, a refresh token, or an approval given away from the browser.

    `code_hash` is what all tokens of one origin share; `level` is how the person had proved who they are.
    """

    @property
    def person_id(self) -> UUID: ...
    @property
    def grant_id(self) -> UUID: ...
    @property
    def scope(self) -> str: ...
    @property
    def code_hash(self) -> bytes: ...
    @property
    def authenticated_at(self) -> datetime: ...
    @property
    def level(self) -> int: ...


def hash_of(token: str) -> bytes:
    """Return what stands for a token, code or request URI in the database; it has too much entropy to guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def issue_own(session: Session, *, client: ClientFacts, scope: str, jkt: str, now: datetime) -> str:
    """Return a new access token of the client itself, bound to the DPoP key `jkt`."""
    token = ACCESS_PREFIX + secrets.token_urlsafe(32)
    session.add(
        AccessToken(
            token_hash=hash_of(token), client_id=client.client_id, company_id=client.company_id, scope=scope,
            jkt=jkt, issued_at=now, expires_at=now + ACCESS_LIFE,
        )
    )  # fmt: skip
    return token


def issue_access(session: Session, *, client: ClientFacts, of: Origin, scope: str, jkt: str, now: datetime) -> str:
    """Return a new access token for the person and grant of a code or refresh token, bound to `jkt`."""
    token = ACCESS_PREFIX + secrets.token_urlsafe(32)
    session.add(
        AccessToken(
            token_hash=hash_of(token), client_id=client.client_id, company_id=client.company_id,
            person_id=of.person_id, grant_id=of.grant_id, scope=scope, jkt=jkt, code_hash=of.code_hash,
            authenticated_at=of.authenticated_at, level=of.level, issued_at=now, expires_at=now + ACCESS_LIFE,
        )
    )  # fmt: skip
    return token


def issue_refresh(session: Session, *, client: ClientFacts, of: Origin, ends: datetime | None, now: datetime) -> str:
    """Return a new refresh token of the client and grant; it ends with the grant at the latest."""
    token = REFRESH_PREFIX + secrets.token_urlsafe(32)
    expires_at = now + REFRESH_LIFE if ends is None else min(ends, now + REFRESH_LIFE)
    session.add(
        RefreshToken(
            token_hash=hash_of(token), client_id=client.client_id, person_id=of.person_id, grant_id=of.grant_id,
            scope=of.scope, code_hash=of.code_hash, authenticated_at=of.authenticated_at, level=of.level,
            issued_at=now, used_at=now, expires_at=expires_at,
        )
    )  # fmt: skip
    return token


def live_access(session: Session, token_hash: bytes, *, now: datetime) -> AccessToken | None:
    """Return the access token if it is known, not expired and not revoked."""
    return session.scalar(
        select(AccessToken).where(
            AccessToken.token_hash == token_hash, AccessToken.revoked_at.is_(None), AccessToken.expires_at > now
        )
    )


def live_refresh(
    session: Session, token: str, *, client_id: str, now: datetime, hold: bool = False
) -> RefreshToken | None:
    """Return the client's refresh token if it is known, not expired and not revoked.

    With `hold` nobody ends it before the caller's transaction is over, so that what is issued from it is there
    to be ended with it.  Such a caller does not write to the row: two of them would wait for each other.
    """
    found = select(RefreshToken).where(
        RefreshToken.token_hash == hash_of(token),
        RefreshToken.client_id == client_id,
        RefreshToken.revoked_at.is_(None),
        RefreshToken.expires_at > now,
    )
    return session.scalar(found.with_for_update(read=True) if hold else found)


def revoke_of_code(session: Session, code_hash: bytes, *, now: datetime) -> None:
    """End every token that came from one code: it was used twice (RFC 6749 section 4.1.2)."""
    # First what new access tokens come from: the next statement then sees every one of them.
    _revoke_refresh(session, [RefreshToken.code_hash == code_hash], now)
    _revoke_access(session, [AccessToken.code_hash == code_hash], now)


def revoke(session: Session, token: str, *, client_id: str, now: datetime) -> None:
    """End `token` if it is this client's; with a refresh token go its access tokens (RFC 7009 section 2.1)."""
    found = live_refresh(session, token, client_id=client_id, now=now)
    if found is not None:
        revoke_of_code(session, found.code_hash, now=now)
        return
    _revoke_access(session, [AccessToken.token_hash == hash_of(token), AccessToken.client_id == client_id], now)


def _revoke_access(session: Session, which: Sequence[ColumnElement[bool]], now: datetime) -> None:
    session.execute(update(AccessToken).where(*which, AccessToken.revoked_at.is_(None)).values(revoked_at=now))


def _revoke_refresh(session: Session, which: Sequence[ColumnElement[bool]], now: datetime) -> None:
    session.execute(update(RefreshToken).where(*which, RefreshToken.revoked_at.is_(None)).values(revoked_at=now))
