"""The portal's signature: compact JWS (RFC 7515), ES256 only, assembled here because every push pays for it.

A key is published for `LEAD` before it signs, so that every verifier has read it by then, and for `KEPT` after it
signed last, so that what it signed can be verified: an ID token lives ten minutes, a message waits for its company
for days.  Its private part is forgotten soon after it signed last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from joserfc.jwk import ECKey
from sqlalchemy import delete, func, select, text, update

from portal import events
from portal.errors import PortalError
from portal.vault import base64url
from portal.vault.keyring import SIGNING
from portal.vault.models import SigningKey

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

ALGORITHM: Final = "ES256"
LEAD: Final = timedelta(hours=1)
KEPT: Final = timedelta(days=30)
TURN: Final = timedelta(days=90)
_COORDINATE_BYTES = 32
_LOCK = 0x55434D01
_NEVER = datetime.min.replace(tzinfo=UTC)
# The same text is signed with the same bytes (RFC 6979), so that what is shown twice is shown alike.
_ES256 = ec.ECDSA(SHA256(), deterministic_signing=True)


class RotationUnderWayError(PortalError):
    code = "rotation-under-way"
    status = 409
    public = "A new signing key is published and waits to sign: the next can be made when it does."


@dataclass(frozen=True)
class Signer:
    """Signs with one key; `kid` is its RFC 7638 thumbprint."""

    kid: str
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, claims: dict[str, Any], *, typ: str) -> str:
        """Return the compact JWS of `claims` with protected header `{alg: ES256, kid, typ}`."""
        return self.sign_text(orjson.dumps(claims), typ=typ)

    def sign_text(self, claims: bytes, *, typ: str) -> str:
        """Return what `sign` does, of claims that are JSON already."""
        signed = _header(self.kid, typ) + "." + base64url.encode(claims)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), _ES256))
        return signed + "." + base64url.encode(r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES))


class Pair(NamedTuple):
    """A key as a row keeps it: its public JWK (RFC 7517), and its private part wrapped by a version of the keyring."""

    kid: str
    public_jwk: dict[str, Any]
    keyring_version: int
    wrapped_private: bytes


@dataclass(frozen=True, kw_only=True)
class KeyFacts:
    """Where a key stands; `signs_until` and `leaves_at` are None while nothing younger is there."""

    kid: str
    published_at: datetime
    signs_from: datetime
    signs_until: datetime | None

    @property
    def leaves_at(self) -> datetime | None:
        return self.signs_until and self.signs_until + KEPT


def ensure(session: Session, *, keyring: Keyring, now: datetime) -> None:
    """Make the first signing key if there is none; two starters at once make one."""
    _lock(session)
    if session.scalar(select(SigningKey.kid).where(SigningKey.retired_at.is_(None)).limit(1)) is None:
        session.add(_generate(keyring, now, signs_from=now))


def rotate(session: Session, *, keyring: Keyring, now: datetime) -> KeyFacts:
    """Publish a new key that signs from `LEAD` on, in place of those that sign until then.

    Raises `RotationUnderWayError` while another one waits to sign.
    """
    _lock(session)
    if _youngest(session) > now:
        raise RotationUnderWayError
    return _succeed(session, keyring, now)


def replace(session: Session, *, keyring: Keyring, now: datetime) -> KeyFacts:
    """Make a new key that signs at once and withdraw every other: one of them is in other hands."""
    _lock(session)
    session.execute(delete(SigningKey))
    fresh = _generate(keyring, now, signs_from=now)
    session.add(fresh)
    _announce(session, fresh, now, others_withdrawn=True)
    return _facts(fresh)


def renew(session: Session, *, keyring: Keyring, now: datetime) -> None:
    """Rotate when the key that signs is `TURN` old, and forget the keys whose time is over."""
    if _youngest(session) <= now - TURN:
        _lock(session)
        if _youngest(session) <= now - TURN:
            _succeed(session, keyring, now)
    # Whoever read a signer a moment before goes on with it: it has long been opened.
    spent = SigningKey.retired_at <= now - LEAD, SigningKey.wrapped_private != b""
    session.execute(update(SigningKey).where(*spent).values(wrapped_private=b""))
    session.execute(delete(SigningKey).where(SigningKey.retired_at <= now - KEPT))


def keys(session: Session) -> list[KeyFacts]:
    """Return every key that is published, the one that signs last first."""
    return [_facts(row) for row in session.scalars(select(SigningKey).order_by(SigningKey.signs_from.desc()))]


def current(session: Session, *, keyring: Keyring, now: datetime | None = None) -> Signer:
    """Return the signer of the youngest key whose time to sign has come; parsed once per process.

    A first key signs even where the database's clock is behind the one that made it.
    """
    row = session.execute(
        select(SigningKey.kid, SigningKey.keyring_version, SigningKey.wrapped_private)
        .order_by((SigningKey.signs_from <= (now or func.clock_timestamp())).desc(), SigningKey.signs_from.desc())
        .limit(1)
    ).one()
    return _parse(keyring, row.kid, row.keyring_version, row.wrapped_private)


def of_row(keyring: Keyring, kid: str, version: int, wrapped: bytes) -> Signer:
    """Return the signer from the columns of a key row that a larger statement already read."""
    return _parse(keyring, kid, version, wrapped)


def public_jwks(session: Session) -> dict[str, Any]:
    """Return the JWK Set (RFC 7517 section 5) of every key a verifier may meet, the youngest first."""
    found = session.scalars(select(SigningKey.public_jwk).order_by(SigningKey.signs_from.desc()))
    return {"keys": list(found)}


def _lock(session: Session) -> None:
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _youngest(session: Session) -> datetime:
    return session.scalar(select(func.max(SigningKey.signs_from))) or _NEVER


def _succeed(session: Session, keyring: Keyring, now: datetime) -> KeyFacts:
    begins = now if _youngest(session) == _NEVER else now + LEAD
    session.execute(update(SigningKey).where(SigningKey.retired_at.is_(None)).values(retired_at=begins))
    fresh = _generate(keyring, now, signs_from=begins)
    session.add(fresh)
    _announce(session, fresh, now, others_withdrawn=False)
    return _facts(fresh)


def _announce(session: Session, fresh: SigningKey, now: datetime, *, others_withdrawn: bool) -> None:
    fact = events.SigningKeysChanged(
        kid=fresh.kid, signs_from=fresh.signs_from, others_withdrawn=others_withdrawn, at=now
    )
    events.announce(session, fact)


def _facts(row: SigningKey) -> KeyFacts:
    return KeyFacts(kid=row.kid, published_at=row.created_at, signs_from=row.signs_from, signs_until=row.retired_at)


def new_pair(keyring: Keyring) -> Pair:
    """Return a new key; only `of_row` opens its private part again."""
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = ECKey.import_key(private.public_key())
    kid = jwk.thumbprint()
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    version, wrapped = keyring.wrap(SIGNING, der, context=kid.encode())
    public = {**jwk.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
    return Pair(kid, public, version, wrapped)


def _generate(keyring: Keyring, now: datetime, *, signs_from: datetime) -> SigningKey:
    made = new_pair(keyring)
    return SigningKey(**made._asdict(), created_at=now, signs_from=signs_from, retired_at=None)


@lru_cache(maxsize=16)
def _parse(keyring: Keyring, kid: str, version: int, wrapped: bytes) -> Signer:
    key = load_der_private_key(keyring.unwrap(SIGNING, version, wrapped, context=kid.encode()), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("a signing key is not an elliptic-curve key")
    return Signer(kid, key)


@lru_cache(maxsize=64)
def _header(kid: str, typ: str) -> str:
    return base64url.encode(orjson.dumps({"alg": ALGORITHM, "kid": kid, "typ": typ}))
