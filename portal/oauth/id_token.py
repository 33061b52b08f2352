"""The ID token (OpenID Connect Core section 2): ES256, ten minutes, the subject pairwise; and as a hint, read again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from portal.identity import levels
from portal.oauth import compact, encrypted
from portal.oauth.compact import MalformedError
from portal.vault import signing

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts
    from portal.oauth.compact import Compact
    from portal.vault.keyring import Keyring

LIFE: Final = timedelta(minutes=10)
# RFC 8176: with both proofs it was a password and a code; with one it may have been either, so nothing is said.
_BOTH_PROOFS: Final = ["mfa", "otp", "pwd"]
_HINT: Final = frozenset({"aud", "sub", "auth_time"})


class HintUnreadableError(ValueError):
    """Not an ID token of ours; the text names the reason and never what was sent."""


@dataclass(frozen=True)
class Hint:
    """Whom and which client an ID token was for; it may have expired long ago."""

    client_id: str
    sub: str


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
    """Return the ID token, a JWS or, where the client's metadata asks for it, a JWE around it.

    `auth_time` and `acr` are always there, `nonce` when the client sent one.
    """
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": sub,
        "aud": client.client_id,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFE).timestamp()),
        "auth_time": int(authenticated_at.timestamp()),
        "acr": levels.acr(level),
    }
    if level >= levels.TWO_PROOFS:
        claims["amr"] = _BOTH_PROOFS
    if nonce is not None:
        claims["nonce"] = nonce
    signed = signing.current(session, keyring=keyring).sign(claims, typ="JWT")
    wants_sealed = client.metadata.id_token_encrypted_response_alg is not None
    return encrypted.seal(signed, encrypted.recipient(session, client.client_id)) if wants_sealed else signed


def read(session: Session, text: str, *, issuer: str) -> Hint:
    """Return whom an ID token of ours, sent back as a hint, was for; raise `HintUnreadableError`.

    Its signature must be by a key that is published still; its time does not count (OpenID Connect Core section
    3.1.2.1, RP-Initiated Logout section 2).
    """
    try:
        parsed = compact.parse(text)
        compact.verify(parsed, compact.public_key(_published(session, parsed)))
    except MalformedError as error:
        raise HintUnreadableError(str(error)) from error
    claims = parsed.claims
    # Other messages are signed by the same keys; these members together make an ID token.
    if claims.get("iss") != issuer or parsed.header.get("typ") != "JWT" or not claims.keys() >= _HINT:
        raise HintUnreadableError("not an ID token of this issuer")
    return Hint(client_id=str(claims["aud"]), sub=str(claims["sub"]))


def _published(session: Session, parsed: Compact) -> object:
    kid = parsed.header.get("kid")
    return next((jwk for jwk in signing.public_jwks(session)["keys"] if jwk["kid"] == kid), None)
