"""The portal's signature, checked by another library."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet
from sqlalchemy import func, select

from portal import db
from portal.vault import signing
from portal.vault.keyring import SealBrokenError
from portal.vault.models import SigningKey

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

CLAIMS = {"iss": "http://localhost:8000", "jti": "a", "name": "Máire"}


def published(session: Session) -> KeySet:
    return KeySet([ECKey.import_key(jwk) for jwk in signing.public_jwks(session)["keys"]])


def test_anyone_can_verify_it_with_the_published_keys(session: Session, keys: Keyring) -> None:
    token = signing.current(session, keyring=keys).sign(CLAIMS, typ="secevent+jwt")
    found = jws.deserialize_compact(token, published(session), algorithms=["ES256"])
    assert found.headers()["typ"] == "secevent+jwt"
    assert b"M\xc3\xa1ire" in found.payload


def test_a_changed_signature_is_noticed(session: Session, keys: Keyring) -> None:
    head, payload, signature = signing.current(session, keyring=keys).sign(CLAIMS, typ="JWT").split(".")
    broken = ".".join((head, payload, ("A" if signature[0] != "A" else "B") + signature[1:]))
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(broken, published(session), algorithms=["ES256"])


def test_what_is_published_is_public(session: Session) -> None:
    for jwk in signing.public_jwks(session)["keys"]:
        assert jwk.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert jwk["kid"] == ECKey.import_key(jwk).thumbprint()


def test_two_starters_make_one_key(settings: Settings, keys: Keyring) -> None:
    def start(_number: int) -> None:
        with db.transaction(settings.database_url) as session:
            signing.ensure(session, keyring=keys, now=db.now())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    with db.transaction(settings.database_url) as session:
        assert session.scalar(select(func.count()).select_from(SigningKey)) == 1


def test_the_private_part_is_bound_to_its_name(session: Session, keys: Keyring) -> None:
    row = session.scalars(select(SigningKey)).one()
    with pytest.raises(SealBrokenError):
        keys.unwrap("signing", row.keyring_version, row.wrapped_private, context=b"another kid")


def test_a_signer_does_not_show_its_key(session: Session, keys: Keyring) -> None:
    signer = signing.current(session, keyring=keys)
    assert repr(signer) == f"Signer(kid={signer.kid!r})"
