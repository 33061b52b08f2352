"""The ID token (OpenID Connect Core section 2): ES256, ten minutes, the subject pairwise."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from portal.identity import levels
from portal.vault import signing

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts
    from portal.vault.keyring import Keyring

LIFE: Final = timedelta(minutes=10)


def issue(
    session: Session,
    *,
    keyring: Keyring,
    issuer: str,
    client: ClientFacts,
    sub: str,
    nonce: str | None,
    authenticated_at: datetime,
    level: int,
    now: datetime,
) -> str:
    """Return the signed ID token; `auth_time` and `acr` are always there, `nonce` when the client sent one."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": sub,
        "aud": client.client_id,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFE).timestamp()),
        "auth_time": int(authenticated_at.timestamp()),
        "acr": levels.acr(level),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    return signing.current(session, keyring=keyring).sign(claims, typ="JWT")
