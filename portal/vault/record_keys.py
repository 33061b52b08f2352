"""The keys that consents are signed with: compact JWS (RFC 7515), ES256 only, checkable for as long as anybody asks.

They sign nothing else, and nothing else signs a consent.  A public part is never taken back: a key that signs no more
stays published with the moment it signed last, one that fell into other hands with the moment that was noticed
(OpenID Federation 1.0 section 8.7 publishes keys of the past in the same way).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from sqlalchemy import select, text, update

from portal.errors import PortalError
from portal.vault import base64url, signing
from portal.vault.models import RecordKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring
    from portal.vault.signing import Signer

TURN: Final = timedelta(days=365)
_LOCK = 0x55434D02
_CURRENT = select(RecordKey.kid, RecordKey.keyring_version, RecordKey.wrapped_private).where(
    RecordKey.retired_at.is_(None)
)


class SignatureRefusedError(PortalError):
    """A signature is not by one of the keys it was checked with, or not of what was shown."""

    code = "signature-refused"
    public = "This is not signed by a key that is known here."


def current(session: Session, *, keyring: Keyring, now: datetime) -> Signer:
    """Return the signer of the one key that signs; the first time it is made."""
    row = session.execute(_CURRENT).one_or_none()
    if row is None:
        ensure(session, keyring=keyring, now=now)
        row = session.execute(_CURRENT).one()
    return signing.of_row(keyring, row.kid, row.keyring_version, row.wrapped_private)


def ensure(session: Session, *, keyring: Keyring, now: datetime) -> None:
    """Make the first key if there is none; two starters at once make one."""
    _lock(session)
    if session.execute(_CURRENT).one_or_none() is None:
        _add(session, keyring, now)


def renew(session: Session, *, keyring: Keyring, now: datetime) -> None:
    """Sign with a new key once the current one is `TURN` old."""
    stale = select(RecordKey.kid).where(RecordKey.retired_at.is_(None), RecordKey.created_at <= now - TURN)
    if session.scalar(stale) is None:
        return
    _lock(session)
    if session.scalar(stale) is not None:
        turn(session, keyring=keyring, now=now)


def turn(session: Session, *, keyring: Keyring, now: datetime, compromised: bool = False) -> str:
    """Sign with a new key from now on and return its kid; the private part of the one before is forgotten.

    Of a `compromised` key that is published, too: what it seems to have signed then counts for as much as the log
    confirms.
    """
    _lock(session)
    past = {"retired_at": now, "wrapped_private": b""} | ({"revoked_at": now} if compromised else {})
    session.execute(update(RecordKey).where(RecordKey.retired_at.is_(None)).values(**past))
    return _add(session, keyring, now)


def public_jwks(session: Session) -> dict[str, Any]:
    """Return every key that ever signed, the youngest first, as a JWK Set (RFC 7517 section 5).

    `iat` is when a key began to sign, `exp` when it ended, `revoked` when and why it is not to be trusted any more.
    """
    return {
        "keys": [_published(row) for row in session.scalars(select(RecordKey).order_by(RecordKey.created_at.desc()))]
    }


def keys_of(session: Session, kids: set[str]) -> dict[str, Any]:
    """Return the JWK Set of those of `kids` that are known, to go with what they have signed."""
    known = select(RecordKey).where(RecordKey.kid.in_(kids)).order_by(RecordKey.created_at.desc())
    return {"keys": [_published(row) for row in session.scalars(known)]}


def detached(token: str) -> str:
    """Return a compact JWS without its payload (RFC 7515 appendix F)."""
    header, _payload, signature = token.split(".")
    return f"{header}..{signature}"


def attached(signature: str, payload: bytes) -> str:
    """Return the whole compact JWS of a detached one and its payload."""
    return signature.replace("..", f".{base64url.encode(payload)}.", 1)


def kid_of(token: str) -> str:
    """Return which key a JWS says it is by; whether it is, only `opened` says.  Raises `SignatureRefusedError`."""
    try:
        kid = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError) as error:
        raise SignatureRefusedError(private="it is no compact JWS") from error
    return kid if isinstance(kid, str) else ""


def opened(token: str, keys: Mapping[str, Any], *, typ: str) -> bytes:
    """Return what a compact JWS says, checked with the keys of a JWK Set; raise `SignatureRefusedError`.

    A key counts by its kid, which must be its own thumbprint (RFC 7638): a set that gives a known name to another key
    proves nothing.
    """
    kid = kid_of(token)
    try:
        named = [ECKey.import_key(jwk) for jwk in keys["keys"] if jwk.get("kid") == kid]
        own = [key for key in named if key.thumbprint() == kid]
        found = jws.deserialize_compact(token, own[0], algorithms=[signing.ALGORITHM])
    except (JoseError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise SignatureRefusedError(private=type(error).__name__) from error
    if found.headers().get("typ") != typ:
        raise SignatureRefusedError(private="it was signed as something else")
    return found.payload


def _lock(session: Session) -> None:
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _add(session: Session, keyring: Keyring, now: datetime) -> str:
    made = signing.new_pair(keyring)
    session.add(RecordKey(**made._asdict(), created_at=now, retired_at=None, revoked_at=None))
    session.flush()
    return made.kid


def _published(row: RecordKey) -> dict[str, Any]:
    said: dict[str, Any] = {**row.public_jwk, "iat": int(row.created_at.timestamp())}
    if row.retired_at is not None:
        said["exp"] = int(row.retired_at.timestamp())
    if row.revoked_at is not None:
        said["revoked"] = {"revoked_at": int(row.revoked_at.timestamp()), "reason": "compromised"}
    return said
