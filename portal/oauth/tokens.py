"""Access and refresh tokens: opaque, 256 random bits behind a prefix that secret scanners know, kept as SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import select, update

from portal.db import Prepared
from portal.oauth.models import AccessToken, RefreshToken
from portal.oauth.replay import FRESH, WHICH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts
    from portal.oauth.replay import Shown

ACCESS_PREFIX: Final = "ucmat_"
REFRESH_PREFIX: Final = "ucmrt_"
ACCESS_LIFE: Final = timedelta(minutes=10)
REFRESH_LIFE: Final = timedelta(days=365)
REFRESH_IDLE: Final = timedelta(days=90)
# That a refresh token is in use is written down at most this often.
TOUCHED_EVERY: Final = timedelta(days=1)


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


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """A live refresh token as its row has it (`Origin`)."""

    token_hash: bytes
    person_id: UUID
    grant_id: UUID
    scope: str
    code_hash: bytes
    authenticated_at: datetime
    level: int
    used_at: datetime


_COLUMNS = (
    "token_hash", "client_id", "company_id", "person_id", "grant_id", "scope", "jkt", "code_hash",
    "authenticated_at", "level", "issued_at", "expires_at",
)  # fmt: skip
# A token is there once everything its request has shown was fresh, in the same statement and commit.
_ISSUED = f"""
    issued AS (
        INSERT INTO access_token ({", ".join(_COLUMNS)})
        SELECT {", ".join(f":{column}" for column in _COLUMNS)} FROM origin
         WHERE (SELECT count(*) FROM fresh) = CAST(:shown AS int)
        RETURNING token_hash)
    {WHICH}, EXISTS (SELECT FROM issued) AS issued"""  # noqa: S608 - put together from constants
_ISSUE_OWN = Prepared("issue_own", f"WITH {FRESH}, origin AS (SELECT), {_ISSUED}")
# Nobody ends the refresh token while a token comes of it: what is issued is there to be ended with it.
_HELD = "SELECT token_hash FROM refresh_token WHERE token_hash = :refresh_hash AND revoked_at IS NULL FOR SHARE"
_ISSUE_REFRESHED = Prepared("issue_refreshed", f"WITH {FRESH}, origin AS ({_HELD}), {_ISSUED}")
_TOUCH = Prepared("touch_refresh_token", """
    UPDATE refresh_token SET used_at = :now WHERE token_hash = :refresh_hash AND used_at < :now RETURNING used_at
""")  # fmt: skip


def hash_of(token: str) -> bytes:
    """Return what stands for a token, code or request URI in the database; it has too much entropy to guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def issue_own(session: Session, *, client: ClientFacts, scope: str, jkt: str, now: datetime) -> str:
    """Return a new access token of the client itself, bound to the DPoP key `jkt`."""
    token, row = _access(client=client, of=None, scope=scope, jkt=jkt, now=now)
    session.add(AccessToken(**row))
    return token


def issue_access(session: Session, *, client: ClientFacts, of: Origin, scope: str, jkt: str, now: datetime) -> str:
    """Return a new access token for the person and grant of a code or refresh token, bound to `jkt`."""
    token, row = _access(client=client, of=of, scope=scope, jkt=jkt, now=now)
    session.add(AccessToken(**row))
    return token


def issue_own_at_once(url: str, shown: Shown, *, client: ClientFacts, scope: str, jkt: str, now: datetime) -> str:
    """Return a token as `issue_own` does, committed together with the use of what the request has shown.

    Raises the error of what was used before; there is no token then.
    """
    token, row = _access(client=client, of=None, scope=scope, jkt=jkt, now=now)
    shown.settle(_ISSUE_OWN.one(url, shown.parameters() | row))
    return token


def issue_refreshed(
    url: str, shown: Shown, *, client: ClientFacts, of: Refresh, scope: str, jkt: str, now: datetime
) -> str | None:
    """Return a token from a refresh token, committed as in `issue_own_at_once`; None when that has just been ended."""
    token, row = _access(client=client, of=of, scope=scope, jkt=jkt, now=now)
    done = _ISSUE_REFRESHED.one(url, shown.parameters() | row | {"refresh_hash": of.token_hash})
    shown.settle(done)
    if of.used_at <= now - TOUCHED_EVERY:
        _TOUCH.one(url, {"refresh_hash": of.token_hash, "now": now})
    return token if done.issued else None


def _access(
    *, client: ClientFacts, of: Origin | None, scope: str, jkt: str, now: datetime
) -> tuple[str, dict[str, Any]]:
    token = ACCESS_PREFIX + secrets.token_urlsafe(32)
    return token, {
        "token_hash": hash_of(token), "client_id": client.client_id, "company_id": client.company_id,
        "person_id": of and of.person_id, "grant_id": of and of.grant_id, "scope": scope, "jkt": jkt,
        "code_hash": of and of.code_hash, "authenticated_at": of and of.authenticated_at, "level": of and of.level,
        "issued_at": now, "expires_at": now + ACCESS_LIFE,
    }  # fmt: skip


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


def live_refresh(session: Session, token: str, *, client_id: str, now: datetime) -> RefreshToken | None:
    """Return the client's refresh token if it is known, not expired, not idle for 90 days and not revoked."""
    return session.scalar(
        select(RefreshToken).where(
            RefreshToken.token_hash == hash_of(token),
            RefreshToken.client_id == client_id,
            RefreshToken.revoked_at.is_(None),
            RefreshToken.expires_at > now,
            RefreshToken.used_at > now - REFRESH_IDLE,
        )
    )


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
